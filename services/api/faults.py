"""What callers are told when something fails: one table from families of errors to answers."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
import structlog
from litestar.exceptions import HTTPException, ValidationException

from services.api.door.gate import Forbidden, NotJson, Unauthorized
from services.api.explaining import UnknownMessage
from services.errors import LogFull, LogUnavailable, Permanent, Rejected, Transient
from services.memory.long_term import InvalidRecall, UnknownMemory
from services.memory.people import InvalidPerson
from services.runtime.agents import UnknownAgent
from services.runtime.database import DatabaseUnavailable
from services.runtime.documents import InvalidDocument, UnknownDocument
from services.runtime.forking import UnknownConversation
from services.runtime.intake import InvalidMessage
from services.runtime.jobs.cron import InvalidSchedule
from services.runtime.jobs.desk import UnknownJob
from services.runtime.memory import InvalidMemory
from services.runtime.parting import InvalidFork
from services.runtime.tasks.board import UnknownGoal, UnknownTask
from services.runtime.tasks.desk import InvalidTask

RETRY_S: Final = 2  # an election or a restart takes a few seconds

log = structlog.get_logger()


class NotThere(Rejected):
    """There is nothing of this name."""


class InvalidName(Rejected):
    """The name cannot be used."""


class TooManyStreams(Transient):
    """This process serves as many open streams as it can; try again later."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong."""

    code: str
    """For programs; stays the same."""
    message: str
    """For people: what to do about it."""


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is not a success."""

    error: Fault


@dataclass(frozen=True, slots=True)
class Answer:
    """How a failure is answered."""

    status: int
    fault: Fault
    headers: dict[str, str]

    def body(self) -> ErrorBody:
        """Return what is sent."""
        return ErrorBody(error=self.fault)


FAMILIES: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (UnknownAgent, 404, "unknown_agent"),
    (NotThere, 404, "not_found"),
    (UnknownDocument, 404, "unknown_document"),
    (UnknownJob, 404, "unknown_job"),
    (UnknownMessage, 404, "unknown_message"),
    (UnknownConversation, 404, "unknown_conversation"),
    (InvalidFork, 422, "invalid_fork"),
    (InvalidSchedule, 422, "invalid_schedule"),
    (UnknownTask, 404, "unknown_task"),
    (UnknownGoal, 404, "unknown_goal"),
    (UnknownMemory, 404, "unknown_memory"),
    (InvalidMemory, 422, "invalid_memory"),
    (InvalidPerson, 422, "invalid_person"),
    (InvalidRecall, 422, "invalid_recall"),
    (InvalidMessage, 422, "invalid_message"),
    (InvalidDocument, 422, "invalid_document"),
    (InvalidTask, 422, "invalid_task"),
    (InvalidName, 422, "invalid_name"),
    (ValidationException, 422, "invalid_request"),
    (Unauthorized, 401, "unauthorized"),
    (Forbidden, 403, "forbidden"),
    (NotJson, 415, "not_json"),
    (Rejected, 409, "rejected"),
    (LogFull, 507, "log_full"),
    (LogUnavailable, 503, "log_unavailable"),
    (DatabaseUnavailable, 503, "read_models_unavailable"),
    (Transient, 503, "unavailable"),
    (Permanent, 500, "failed"),
)
"""Error, status and code; the first that fits counts, so the narrower come first."""


def answer_to(error: Exception) -> Answer:
    """Return how `error` is answered; what fits no family is a bug of ours and is logged."""
    for family, status, code in FAMILIES:
        if isinstance(error, family):
            return Answer(status, Fault(code=code, message=_message(error)), _headers(status))
    if isinstance(error, HTTPException) and error.status_code < 500:
        code = HTTPStatus(error.status_code).name.lower()
        fault = Fault(code=code, message=error.detail)
        return Answer(error.status_code, fault, dict(error.headers or {}))
    log.error("request.failed", exc_info=error)
    return Answer(500, Fault(code="bug", message="this is our fault; the log says more"), {})


def _message(error: Exception) -> str:
    """Return what is wrong, field by field where it is about fields."""
    if not isinstance(error, ValidationException):
        return str(error)
    found = [each for each in error.extra or () if isinstance(each, dict)]
    problems = [f"{each.get('key') or 'body'}: {each.get('message', '')}" for each in found]
    return "; ".join(problems) or error.detail


def _headers(status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": str(RETRY_S)} if status == 503 else {}
