"""`penstock checkpoints`: what stands for the older parts of a conversation, from the log alone."""

import msgspec

from schemas.subjects import parse
from services.cli import output, selection
from services.cli.exits import OK
from services.cli.installation import Installation
from services.cli.options import Options
from services.errors import Rejected
from services.runtime import chronicle, reading_back
from services.runtime.bodies import BodyStore
from services.runtime.chronicle import Checkpoint
from services.runtime.conversation import Entry
from services.runtime.conversations import shown
from services.runtime.jetstream.bodies import JetStreamBodies
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.reading_back import Chapter


class Checkpoints(Options):
    """Arguments of `checkpoints`."""

    conversation: str
    open: int | None = None
    expand: int | None = None
    skip: int = 0
    agent: str | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of what a checkpoint stands for."""

    id: str
    at: int
    """UTC microseconds."""
    text: str


async def checkpoints(options: Checkpoints) -> int:
    """Print every checkpoint, or one of them with what it says or stands for."""
    here = Installation(options)
    async with here.connection() as connection:
        log = JetStreamLog(connection)
        found = await _chapters(log, here.tenant, options)
        number = options.open if options.expand is None else options.expand
        if number is None:
            _print_list(list(found.values()), as_json=options.json)
            return OK
        known = [chapter.checkpoint for chapter in found.values()]
        chapter = found[reading_back.one_of(known, number).number]
        await _print_one(chapter, JetStreamBodies(connection), options)
    return OK


async def _chapters(log: JetStreamLog, tenant: str, options: Checkpoints) -> dict[int, Chapter]:
    """Return the checkpoints of the one conversation that is meant.

    Raises:
        Rejected: there is none, or several are called so.
    """
    wanted = selection.pattern(tenant, agent=options.agent, conversation=options.conversation)
    channels = f"{wanted.rpartition('.')[0].rpartition('.')[0]}.channel._"
    subjects = sorted({recorded.subject async for recorded in log.read(channels, fresh=True)})
    if not subjects:
        raise Rejected(f"the log knows no conversation {options.conversation!r}")
    if len(subjects) > 1:
        names = ", ".join(selection.label(parse(subject)) for subject in subjects)
        raise Rejected(f"several conversations are called so; say which: {names}")
    return await reading_back.chapters(log, parse(subjects[0]))


def _print_list(found: list[Chapter], *, as_json: bool) -> None:
    checkpoints = [chapter.checkpoint for chapter in found]
    if as_json:
        output.document([msgspec.structs.asdict(one) for one in checkpoints])
        return
    if not checkpoints:
        print("No checkpoints: all of the conversation is still shown to the model.")
        return
    rolled = {number: one.number for one in checkpoints for number in one.sources}
    rows = [
        (
            one.number,
            chronicle.span(one),
            f"{one.entries:,}",
            _state(one, rolled.get(one.number)),
            output.one_line(one.title),
        )
        for one in checkpoints
    ]
    output.table(("no", "from", "entries", "kind", "title"), rows)


def _state(one: Checkpoint, rolled_into: int | None) -> str:
    return one.kind if rolled_into is None else f"{one.kind}, in {rolled_into}"


async def _print_one(chapter: Chapter, bodies: BodyStore, options: Checkpoints) -> None:
    if not options.json:
        if options.expand is not None:
            text = await reading_back.expanded(chapter, bodies, skip=options.skip)
        else:
            text = await reading_back.opened(chapter.checkpoint, bodies)
        print(output.visible(text))
        return
    summary = await shown(chapter.checkpoint.summary, bodies)
    document: dict[str, object] = {**msgspec.structs.asdict(chapter.checkpoint), "summary": summary}
    if options.expand is not None:
        part = chapter.entries[options.skip : options.skip + reading_back.MOST]
        document["entries"] = [await _line(entry, bodies) for entry in part]
    output.document(document)


async def _line(entry: Entry, bodies: BodyStore) -> Line:
    return Line(id=entry.id, at=entry.at, text=f"{entry.label}{await shown(entry.text, bodies)}")
