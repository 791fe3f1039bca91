"""Errors of the database as people should read them."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from services.errors import Rejected
from services.runtime.database import DatabaseUnavailable


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what psycopg raises into one of our errors.

    Raises:
        DatabaseUnavailable: it is away.
        Rejected: it does not have, or not allow, what was asked of it.
    """
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise Rejected(
            "the read models have not been made yet: start the projector, with `penstock up` or "
            "`penstock run projector`"
        ) from error
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"PostgreSQL does not answer: {error}") from error
    except psycopg.Error as error:
        raise Rejected(f"PostgreSQL refuses: {error}") from error
