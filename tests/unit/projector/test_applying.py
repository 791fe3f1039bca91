"""A failure is waited out, blamed on one event, or shown to a person, by what it says."""

import psycopg
import pytest
from psycopg import errors

from services.projector.applying import family
from services.runtime.database import DatabaseUnavailable


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.OperationalError("server closed the connection"), "transient"),
        (psycopg.InterfaceError("connection is closed"), "transient"),
        (errors.AdminShutdown(), "transient"),
        (errors.DeadlockDetected(), "transient"),
        (errors.SerializationFailure(), "transient"),
        (errors.DiskFull(), "transient"),
        (errors.QueryCanceled(), "transient"),
        (errors.LockNotAvailable(), "transient"),
        (errors.ReadOnlySqlTransaction(), "transient"),
        (errors.UndefinedTable(), "systemic"),
        (errors.UndefinedColumn(), "systemic"),
        (errors.InsufficientPrivilege(), "systemic"),
        (errors.InvalidSchemaName(), "systemic"),
        (errors.FeatureNotSupported(), "systemic"),
        (errors.DataCorrupted(), "systemic"),
        (errors.UniqueViolation(), "poison"),
        (errors.NotNullViolation(), "poison"),
        (errors.InvalidTextRepresentation(), "poison"),
        (errors.NumericValueOutOfRange(), "poison"),
        (errors.ProgramLimitExceeded(), "poison"),
        (psycopg.DataError("cannot dump"), "poison"),
        (KeyError("a bug"), "poison"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_family_decides_who_can_help(error, expected):
    assert family(error) == expected


def test_a_database_that_is_away_is_no_databases_error():
    assert not isinstance(DatabaseUnavailable(), psycopg.Error)
