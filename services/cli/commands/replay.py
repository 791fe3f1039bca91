"""`penstock replay`: today's code on what was recorded, and where it decides otherwise."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from schemas.subjects import matching, parse
from services.cli import output
from services.cli.commands.trace import conversation_of
from services.cli.exits import FAILED, OK, Misused
from services.cli.installation import Installation
from services.cli.options import Options
from services.cli.replaying import replay as replaying, telling
from services.cli.replaying.recording import Recording, of_file, of_log
from services.cli.replaying.replay import Replayed
from services.cli.replaying.runs import not_compared, runs_of
from services.errors import Rejected
from services.runtime import lineage
from services.runtime.agents import config_subject
from services.runtime.bodies import CachedBodies
from services.runtime.briefings import subject_of
from services.runtime.clock import SystemClock
from services.runtime.event_log import EventLog, Recorded
from services.runtime.jetstream.bodies import JetStreamBodies
from services.runtime.jetstream.log import JetStreamLog

_AGO: Final = re.compile(r"(\d+)([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Replay(Options):
    """Arguments of `replay`."""

    id: str | None = None
    all: bool = False
    since: str | None = None
    file: Path | None = None
    decisions_only: bool = False


async def replay(options: Replay) -> int:
    """Replay a turn, a run or all of them."""
    if (options.id is None) != options.all:
        raise Misused("name a turn or a run, or say --all")
    since = _moment(options.since) if options.since else 0
    config = options.settings()
    if options.file is not None:
        recording = await of_file(options.file.expanduser())
        found = await _replayed(recording, options, since)
    else:
        here = Installation(options)
        async with here.connection() as connection:
            log, bodies = JetStreamLog(connection), CachedBodies(JetStreamBodies(connection))
            reads = await _reads(log, config.tenant, options.id)
            recording = await of_log(reads, bodies)
            found = await _replayed(recording, options, since)
    left_out = not_compared(recording, since=since) if options.all else {}
    if options.json:
        output.document({"runs": found, "not_compared": left_out})
    else:
        _show(found)
        _show_left_out(left_out)
    return OK if any(_is_same(run) for run in found) and not _parted(found) else FAILED


async def _replayed(recording: Recording, options: Replay, since: int) -> list[Replayed]:
    runs = runs_of(recording, since=since)
    if options.id is not None:
        runs = [run for run in runs if run.run_id == options.id]
    if not runs:
        raise Rejected(f"there is no {options.id or 'run'} to replay; `penstock trace` lists them")
    only, config = options.decisions_only, options.settings()
    found = await replaying.Replay(recording, config, decisions_only=only).all(runs)
    await telling.tell(recording, found, config.telemetry)
    return found


async def _reads(log: EventLog, tenant: str, run: str | None) -> list[AsyncIterator[Recorded]]:
    """Return what has to be read: a run's whole conversation, and what was known in it.

    What belongs to no conversation was made from everything that the tenant's agents were told.
    """
    where = await _conversation_of(log, tenant, run) if run is not None else matching(tenant)
    if where is None:
        raise Rejected(f"the log knows no turn or run {run!r}; `penstock trace` lists them")
    channel = ".".join([*where.split(".")[:5], "channel", "_"])
    if "*" in channel:
        return [log.read(matching(tenant), fresh=True)]
    agent = parse(channel).agent or ""
    shared = [str(each) for each in await lineage.ancestors(log, parse(channel))]
    known = (config_subject(tenant), str(subject_of(tenant, agent, "briefing")))
    wanted = (where, *shared, *known)
    return [log.read(each, fresh=True) for each in wanted]


async def _conversation_of(log: EventLog, tenant: str, id_: str) -> str | None:
    """Return the filter of the conversation of a run, or of a decision by its event's id."""
    where = await conversation_of(log, tenant, id_)
    if where is not None:
        return where
    for entity in ("cortex", "channel"):
        async for recorded in log.read(matching(tenant, entity=entity), fresh=True):
            if id_ in {recorded.envelope.id, getattr(recorded.event, "run_id", None)}:
                place = parse(recorded.subject)
                return matching(place.tenant, place.agent, place.adapter, place.conversation)
    return None


def _moment(text: str) -> int:
    """Return a time as UTC microseconds: `2h` ago, or as ISO 8601 has it.

    Raises:
        Misused: it is neither.
    """
    if (ago := _AGO.fullmatch(text)) is not None:
        span = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return SystemClock().now() - span // timedelta(microseconds=1)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Misused(f"--since: {text!r} is neither like 2h nor like 2026-01-31T08:00") from None
    if moment.tzinfo is None:
        moment = moment.astimezone()
    return (moment.astimezone(UTC) - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def _parted(found: list[Replayed]) -> list[Replayed]:
    return [run for run in found if run.divergence is not None]


def _is_same(run: Replayed) -> bool:
    return run.divergence is None and not run.problem


def _show(found: list[Replayed]) -> None:
    for run in found:
        if run.divergence is not None:
            parted = run.divergence
            where = f"event {parted.seq}" if parted.seq else "behind the recording"
            print(f"{run.kind} {run.run_id} parts at step {parted.step}, {where}")
            print(f"  then  {output.visible(parted.then)}")
            print(f"  now   {output.visible(parted.now)}")
            for line in parted.detail:
                print(f"        {output.visible(line)}")
        elif run.problem:
            print(f"{run.kind} {run.run_id} cannot be replayed: {output.visible(run.problem)}")
    same = sum(_is_same(run) for run in found)
    steps = sum(run.steps for run in found)
    print(
        f"{output.plural(same, 'run')} of {len(found):,} decided the same, "
        f"{output.plural(steps, 'step')} in all; {len(_parted(found)):,} differ."
    )


def _show_left_out(left_out: dict[str, int]) -> None:
    """Say what of the recording nothing was compared with."""
    if left_out:
        found = ", ".join(f"{what} ({number:,})" for what, number in left_out.items())
        print(f"Not compared: {found}.")
