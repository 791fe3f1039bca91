"""Every failure has an answer that says what to do."""

import pytest
from litestar.exceptions import MethodNotAllowedException, NotFoundException, ValidationException
from structlog.testing import capture_logs

from services.api.door.gate import Forbidden, NotJson, Unauthorized
from services.api.faults import FAMILIES, InvalidName, NotThere, TooManyStreams, answer_to
from services.errors import Conflict, LogFull, LogUnavailable, Permanent, Rejected, Transient
from services.runtime.agents import UnknownAgent
from services.runtime.database import DatabaseUnavailable
from services.runtime.intake import InvalidMessage


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UnknownAgent("no"), 404, "unknown_agent"),
        (NotThere("no"), 404, "not_found"),
        (InvalidMessage("no"), 422, "invalid_message"),
        (InvalidName("no"), 422, "invalid_name"),
        (Unauthorized("no"), 401, "unauthorized"),
        (Forbidden("no"), 403, "forbidden"),
        (NotJson("no"), 415, "not_json"),
        (Rejected("no"), 409, "rejected"),
        (LogFull("no"), 507, "log_full"),
        (LogUnavailable("no"), 503, "log_unavailable"),
        (DatabaseUnavailable("no"), 503, "read_models_unavailable"),
        (TooManyStreams("no"), 503, "unavailable"),
        (Conflict("s", expected=1), 503, "unavailable"),
        (Permanent("no"), 500, "failed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_families_have_statuses_and_codes(error, status, code):
    answer = answer_to(error)
    assert (answer.status, answer.fault.code) == (status, code)
    assert answer.fault.message == str(error)


def test_no_family_hides_a_narrower_one_behind_it():
    for index, (family, _, _) in enumerate(FAMILIES):
        before = [wider for wider, _, _ in FAMILIES[:index]]
        assert not issubclass(family, tuple(before)), family


def test_whoever_may_come_again_is_told_when():
    for error in (LogUnavailable(), DatabaseUnavailable(), Transient()):
        assert int(answer_to(error).headers["Retry-After"]) > 0
    assert answer_to(LogFull()).headers == {}


def test_whoever_needs_a_credential_is_told_which():
    assert answer_to(Unauthorized()).headers == {"WWW-Authenticate": "Bearer"}


def test_every_wrong_field_is_named():
    extra = [{"key": "author", "message": "Expected `str`"}, {"message": "Expected `object`"}]
    answer = answer_to(ValidationException(detail="for POST /x?key=hunter2", extra=extra))
    assert answer.status == 422
    assert answer.fault.message == "author: Expected `str`; body: Expected `object`"


def test_what_http_itself_refuses_keeps_its_status_and_headers():
    assert answer_to(NotFoundException()).fault.code == "not_found"
    answer = answer_to(MethodNotAllowedException(headers={"allow": "GET"}))
    assert (answer.status, answer.headers) == (405, {"allow": "GET"})


def test_a_bug_is_logged_and_tells_the_caller_nothing():
    with capture_logs() as lines:
        answer = answer_to(KeyError("hunter2"))
    assert (answer.status, answer.fault.code) == (500, "bug")
    assert "hunter2" not in answer.fault.message
    assert [line["event"] for line in lines] == ["request.failed"]
