"""Probes and numbers for whoever runs this.

GET  /healthz          this process answers
GET  /readyz           so do the log and the database, and the read models are nearly up to date
GET  /metrics          numbers, in Prometheus's text format
GET  /api/v1/status    how every process and every part is
"""

from typing import Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import SkipValidation
from msgspec import Struct

from services.api import vitals
from services.api.metrics import CONTENT_TYPE, Meter
from services.api.routes.scope import OPEN, Parts, documented, failures
from services.api.vitals import Check
from services.errors import LogUnavailable
from services.runtime.main import ASK, ProcessStatus
from services.runtime.process import Process

ANSWER_S: Final = 0.3  # processes answer in milliseconds, or are too busy to

Meters = NamedDependency[SkipValidation[Meter]]


class Alive(Struct, frozen=True, kw_only=True):
    """This process answers."""

    status: str = "ok"


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether this process can serve."""

    ready: bool
    checks: list[Check]


class Status(Struct, frozen=True, kw_only=True):
    """How the installation is."""

    ready: bool
    checks: list[Check]
    events: int | None
    """In the log; None: it does not answer."""
    lag: dict[str, int]
    """Events that each read model is behind; empty where that cannot be known."""
    processes: list[ProcessStatus]


@get(
    "/healthz",
    summary="Tell whether this process answers",
    responses=documented(403),
    security=OPEN,
)
async def healthz() -> Alive:
    """Answer."""
    return Alive()


@get(
    "/readyz",
    summary="Tell whether this process can serve",
    responses={
        503: ResponseSpec(Readiness, description="It cannot; `checks` says why."),
        **documented(403),
    },
    security=OPEN,
)
async def readyz(process: Parts) -> Response[Readiness]:
    """Ask the log and the database, and compare how far the read models are."""
    checks = (await vitals.ask(process)).checks()
    ready = all(check.ok for check in checks)
    return Response(Readiness(ready=ready, checks=checks), status_code=200 if ready else 503)


@get(
    "/metrics",
    summary="Read the numbers for Prometheus",
    media_type=CONTENT_TYPE,
    responses=failures(),
)
async def metrics(process: Parts, meter: Meters) -> Response[bytes]:
    """Return this process's numbers, and those of the parts that it stands on."""
    return Response(meter.text(await vitals.ask(process)), media_type=CONTENT_TYPE)


@get("/status", summary="See how every process and part is", responses=failures())
async def status(process: Parts) -> Status:
    """Ask every process and every part, now."""
    found = await vitals.ask(process)
    checks = found.checks()
    return Status(
        ready=all(check.ok for check in checks),
        checks=checks,
        events=found.end,
        lag=found.lags or {},
        processes=await _processes(process),
    )


async def _processes(process: Process) -> list[ProcessStatus]:
    """Return the processes that answered, in an order that stays the same."""
    try:
        answers = await process.live.ask_all(ASK, wait_s=ANSWER_S)
    except LogUnavailable:
        return []
    found = [msgspec.json.decode(answer, type=ProcessStatus) for answer in answers]
    return sorted(found, key=lambda each: each.owner)


probes = [healthz, readyz, metrics]
routes = [status]
