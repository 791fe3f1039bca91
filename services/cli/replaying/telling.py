"""Spans of replays: of each run a new trace that is linked to the one of then."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from schemas.base import RunId
from services.cli.replaying.recording import Recording
from services.cli.replaying.replay import Replayed
from services.runtime import ids
from services.runtime.clock import SystemClock
from services.runtime.config import TelemetrySettings
from services.runtime.event_log import Recorded
from services.runtime.settings import foreign
from services.runtime.telemetry import environment, names
from services.runtime.telemetry.context import span_of, trace_of
from services.runtime.telemetry.fold import Spans
from services.runtime.telemetry.live import LIVE
from services.runtime.telemetry.provider import provided
from services.runtime.telemetry.span import Link, Span, Value

DIVERGED: Final = "diverged"


async def tell(
    recording: Recording, found: Sequence[Replayed], settings: TelemetrySettings
) -> None:
    """Send the spans of replayed runs, where the environment asks for spans."""
    environ = foreign(environment.PREFIX)
    if not environment.wanted(environ).traces:
        return
    clock, again = SystemClock(), ids.new()
    spans = replayed(recording.events, found, again=again, at=clock.now())
    async with provided(environ, settings, clock, instance=again):
        if LIVE.recorder is not None:
            await LIVE.recorder.export([(span, {}) for span in spans])


def replayed(
    events: Iterable[Recorded], found: Sequence[Replayed], *, again: str, at: int
) -> Iterator[Span]:
    """Yield the spans of runs that were driven again, as far as they came.

    Args:
        events: The recording.
        found: How the runs came out.
        again: Names this replay; another one has other traces.
        at: When it is, UTC microseconds; durations are those of then.
    """
    of_run: dict[RunId, list[tuple[int, Span]]] = {RunId(run.run_id): [] for run in found}
    fold = Spans()
    for recorded in events:
        for span in fold.take(recorded):
            run_id = span.attributes.get(names.RUN)
            if isinstance(run_id, str) and run_id in of_run:
                of_run[RunId(run_id)].append((recorded.seq, span))
    for run in found:
        yield from _one(run, of_run[RunId(run.run_id)], again, at)


def _one(run: Replayed, told: Sequence[tuple[int, Span]], again: str, at: int) -> Iterator[Span]:
    """Yield the spans of one run, up to where it parts."""
    parted = run.divergence
    trace_id = trace_of(f"{again}/{run.run_id}")
    start = min((span.start for _, span in told), default=at)
    for seq, span in told:
        is_whole = span.operation in {names.INVOKE_WORKFLOW, names.INVOKE_AGENT}
        if not is_whole and parted is not None and parted.seq and seq >= parted.seq:
            continue
        more: dict[str, Value] = {names.REPLAY: True}
        if is_whole:
            more[names.DIVERGED] = parted is not None
        new = replace(
            span,
            trace_id=trace_id,
            span_id=span_of(again, span.span_id),
            parent_id=None if is_whole or not span.parent_id else span_of(again, span.parent_id),
            start=at + span.start - start,
            end=at + span.end - start,
            sampled=True,
            attributes=span.attributes | more,
            links=(Link(span.trace_id, span.span_id),) if span.trace_id else (),
            moments=(),
        )
        if is_whole and parted is not None:
            where = f"at step {parted.step}, event {parted.seq}"  # what differs, the command says
            new = replace(new, error=DIVERGED, detail=where)
        yield new
