"""Start and stop telemetry, for as long as a process runs and only where it is asked for."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog

from services.errors import InvalidConfiguration
from services.runtime.clock import Clock
from services.runtime.config import TelemetrySettings
from services.runtime.telemetry import environment
from services.runtime.telemetry.context import ROOTS
from services.runtime.telemetry.live import LIVE

SERVICE: Final = "penstock"
# A thread that encodes spans lets the event loop go on after this; Python's 5 ms are half a turn.
GIVE_WAY_S: Final = 0.0005

log = structlog.get_logger()


@asynccontextmanager
async def provided(
    environ: Mapping[str, str], settings: TelemetrySettings, clock: Clock, *, instance: str
) -> AsyncIterator[None]:
    """Let this process tell its spans and metrics until the block ends.

    Args:
        environ: The variables of OpenTelemetry.
        settings: Ours.
        clock: Whose time live spans have.
        instance: Name of this process.

    Raises:
        InvalidConfiguration: something is asked for that cannot be had.
    """
    wanted = environment.wanted(environ)
    if not wanted.anything:
        yield
        return
    if found := environment.problems(environ):
        raise InvalidConfiguration(found)
    from services.runtime.telemetry.sdk import Sdk  # noqa: PLC0415 - costs 0.3 s where unwanted

    named = "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    service = None if named or environ.get("OTEL_SERVICE_NAME") else SERVICE
    sdk = Sdk(wanted, settings, clock, service=service, instance=instance)
    ROOTS.sampler, LIVE.recorder = (sdk.samples if wanted.traces else None), sdk
    before = sys.getswitchinterval()
    sys.setswitchinterval(GIVE_WAY_S)
    log.info("telemetry.started", traces=wanted.traces, metrics=wanted.metrics)
    try:
        yield
    finally:
        ROOTS.sampler, LIVE.recorder = None, None
        sys.setswitchinterval(before)
        await sdk.close()
