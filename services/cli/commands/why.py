"""`penstock why`: why something happened, or did not."""

from itertools import groupby

from schemas.subjects import Subject
from services.api.explaining import Explaining
from services.cli import output
from services.cli.exits import FAILED, OK, Misused
from services.cli.installation import Installation
from services.cli.options import Options
from services.errors import Rejected
from services.runtime.clock import SystemClock
from services.runtime.jobs.desk import UnknownJob
from services.runtime.jobs.request import moment
from services.runtime.jobs.why import Answer, Line
from services.runtime.why_message import Explanation

DAY = 86_400 * 1_000_000
FEW = 3  # alike lines in a row that are printed one by one


class Why(Options):
    """Arguments of `why`."""

    what: str | None = None
    at: str | None = None
    since: str | None = None
    missed: bool = False
    conversation: str | None = None
    agent: str = "main"


async def why(options: Why) -> int:
    """Explain a job, a message, or every gap."""
    if (options.what is None) != options.missed:
        raise Misused("name a job, a message or a turn, or say --missed")
    if options.at is not None and options.since is not None:
        raise Misused("say --at or --since")
    here = Installation(options)
    zone, now = here.config.scheduler.zone, SystemClock().now()
    after = moment(options.since, zone) - 1 if options.since else now - DAY
    async with here.log() as log, here.pool() as pool:
        explaining = Explaining(log, pool, here.tenant)
        if options.what is None:
            return _gaps(await explaining.missed(after=after, now=now), options)
        if options.conversation is not None:
            adapter, slash, name = options.conversation.partition("/")
            place = Subject(
                here.tenant, options.agent, *((adapter, name) if slash else ("portal", adapter))
            )
            return _message(await explaining.message_in(place, options.what, now=now), options)
        try:
            if options.at is not None:
                at = moment(options.at, zone)
                answer = await explaining.job_at(options.agent, options.what, at, now=now)
            else:
                answer = await explaining.job(
                    options.agent, options.what, after=after, until=now, now=now
                )
        except UnknownJob as unknown:
            if options.at is not None or options.since is not None:
                raise
            return await _not_a_job(explaining, options, unknown, now)
        return _job(answer, options)


async def _not_a_job(explaining: Explaining, options: Why, unknown: UnknownJob, now: int) -> int:
    try:
        found = await explaining.message(options.what or "", now=now)
    except Rejected as error:
        raise Rejected(f"{unknown}, and {error}") from error
    return _message(found, options)


def _job(answer: Answer, options: Why) -> int:
    if options.json:
        output.document(answer)
    else:
        print(answer.note or f"{output.plural(len(answer.lines), 'time')}:")
        _lines(answer.lines)
    ran = options.at is None or any(line.verdict in {"ran", "running"} for line in answer.lines)
    return OK if answer.complete and ran else FAILED


def _gaps(answers: list[Answer], options: Why) -> int:
    if options.json:
        output.document(answers)
    elif not answers:
        print("Nothing was missed.")
    else:
        for answer in answers:
            print(f"{answer.job} of {answer.agent}: {output.plural(len(answer.lines), 'time')}")
            _lines(answer.lines)
    return FAILED if answers else OK


def _lines(lines: list[Line]) -> None:
    """Print one line for each time; many alike in a row are one."""
    rows = []
    for (verdict, alike), group in groupby(lines, key=lambda line: (line.verdict, _alike(line))):
        told = list(group)
        if alike and len(told) > FEW:
            span = f"{output.when(told[0].due_at)} to {output.when(told[-1].due_at)[11:]}"
            rows.append((span, verdict, f"{output.plural(len(told), 'time')}: {told[-1].why}"))
        else:
            rows += [(output.when(line.due_at), verdict, line.why) for line in told]
    if rows:
        output.table(("due", "what", "why"), [_visible(row) for row in rows], indent="  ")


def _alike(line: Line) -> str:
    """Return what lines of a group share; runs that went well are all alike."""
    return "well" if line.verdict == "ran" and not line.manual else line.why


def _visible(row: tuple[str, str, str]) -> tuple[str, ...]:
    return tuple(output.visible(cell) for cell in row)


def _message(found: Explanation, options: Why) -> int:
    if options.json:
        output.document(found)
    else:
        print(f"{found.conversation}: {output.visible(found.why)}")
        rows = [
            (
                output.when(step.at),
                step.service,
                "-" if step.took_ms is None else output.duration(step.took_ms),
                output.one_line(step.what) + (" …" if step.open else ""),
            )
            for step in found.steps
        ]
        output.table(("at", "service", "took", "step"), rows, indent="  ")
        if found.slowest is not None and found.slowest.took_ms:
            slow = found.slowest
            took = output.duration(slow.took_ms or 0)
            print(f"Longest: {slow.service}, {output.visible(slow.what)}, {took}")
    return OK if found.standing in {"answered", "silent"} else FAILED
