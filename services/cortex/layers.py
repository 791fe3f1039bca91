"""The layers of working memory: what happened and what is known, as lines within a budget. Pure.

Consumes:  rows of what everybody may know, days that were summarised, the newest synthesis
Emits:     the content of a briefing
Never:     awaits, reads a clock; shows what a person or a channel keeps to itself
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from itertools import groupby
from typing import Final

from projections.activity import Happening, Place
from schemas.base import MemoryId
from schemas.cortex import BriefingWritten, DaySummarised, Layer, LayerName, Line, PersonKnown
from services.runtime import days
from services.runtime.briefings import BYTES_PER_TOKEN
from services.runtime.config import CortexSettings
from services.runtime.text import quoted, shorten

TEXT_CHARS: Final = 180  # of one thing that somebody wrote
NAME_CHARS: Final = 60  # of a conversation's name
OVERHEAD: Final = 3  # bytes of a line besides its text: dash, blank, line break
WEEK: Final = 5  # days before yesterday
OF_A_DAY: Final = 2  # lines of a day of that week
MOST_PEOPLE: Final = 20  # whom something is known of, in a briefing
ABOUT_PEOPLE: Final = ("identity", "preference", "goal")  # kinds that tell of who said them


@dataclass(frozen=True, slots=True)
class Material:
    """What a briefing is made of."""

    now: int
    """UTC microseconds."""
    zone: tzinfo
    identity: Sequence[Happening]
    """Memories of who the agent and its people are, the most important first."""
    memories: Sequence[Happening]
    """All that is remembered, the most important first."""
    synthesis: str | None
    """What a model put it in, while all that it was made of is still remembered."""
    summaries: Sequence[DaySummarised]
    """Days that are over, in any order."""
    today: Sequence[Happening]
    """What happened since midnight, newest first."""
    places: Sequence[Place]
    """Open conversations that are lively, by name."""
    gone: Collection[str] = ()
    """Memories that are quoted in summaries and no longer remembered."""


def compose(material: Material, settings: CortexSettings) -> BriefingWritten:
    """Return the briefing of now: empty layers left out, the ones that change seldom first."""
    today = days.day_of(material.now, material.zone)
    layers = (
        layer(
            "identity", (memory_line(row) for row in material.identity), settings.identity_tokens
        ),
        _knowledge(material, settings.knowledge_tokens),
        _week(material, today, settings.week_tokens),
        _yesterday(material, days.after(today, -1), settings.yesterday_tokens),
        _today(material, today, settings.today_tokens),
        layer("channels", map(place_line, _by_name(material.places)), settings.channels_tokens),
    )
    return BriefingWritten(
        layers=tuple(layer for layer in layers if layer.lines),
        people=_people(material.memories),
    )


def fit(lines: Iterable[Line], tokens: int) -> tuple[tuple[Line, ...], int]:
    """Return the first of the lines that there is room for, and how many are left out."""
    room = tokens * BYTES_PER_TOKEN
    every = list(lines)
    for number, line in enumerate(every):
        room -= len(line.text.encode()) + OVERHEAD
        if room < 0:
            return tuple(every[:number]), len(every) - number
    return tuple(every), 0


def layer(name: LayerName, lines: Iterable[Line], tokens: int, *, day: date | None = None) -> Layer:
    """Return a layer of the first of the lines that there is room for."""
    kept, left_out = fit(lines, tokens)
    return Layer(name=name, lines=kept, left_out=left_out, day=day.isoformat() if day else None)


def memory_line(row: Happening) -> Line:
    """Return a memory as a line."""
    return Line(text=f"{row.memory_kind}: {quoted(row.text or '', TEXT_CHARS)}", memory_id=_id(row))


def place_line(place: Place) -> Line:
    """Return what was last said in an open conversation as a line."""
    name = f"{place.adapter}/{place.conversation}"
    by, said = quoted(place.said_by, NAME_CHARS), quoted(place.said, TEXT_CHARS)
    return Line(text=f"{quoted(name, NAME_CHARS)[1:-1]}: {by} said {said}", conversation=name)


def happening_line(row: Happening) -> Line:
    """Return something that happened as a line."""
    said = quoted(row.text or "", TEXT_CHARS)
    where = quoted(f"{row.adapter}/{row.conversation}", NAME_CHARS)[1:-1]
    match row.kind:
        case "memory":
            return Line(text=f"remembered, {row.memory_kind}: {said}", memory_id=_id(row))
        case "worker":
            return Line(text=f"{where}: a worker {row.outcome or 'ended'}: {said}")
        case "file":
            return Line(text=f"{where}: sent the file {said}")
        case _:
            return Line(text=f"{where}: could not answer: {said}")


def collapsed(lines: Iterable[Line]) -> list[Line]:
    """Return the lines with those that repeat the one before as a number."""
    found = []
    for line, same in groupby(lines):
        times = len(list(same))
        found.append(Line(text=f"{line.text} ({times} times)") if times > 1 else line)
    return found


def _by_name(places: Sequence[Place]) -> list[Place]:
    """Return them by name, as no database sorts them whose language is not known."""
    return sorted(places, key=lambda place: (place.adapter, place.conversation))


def _id(row: Happening) -> MemoryId:
    return MemoryId(row.ref)


def _knowledge(material: Material, tokens: int) -> Layer:
    if material.synthesis is not None:
        said = (
            shorten(line.strip(" -*•\t"), 2 * TEXT_CHARS) for line in _plain(material.synthesis)
        )
        return layer("knowledge", (Line(text=text) for text in said if text), tokens)
    shown = {row.ref for row in material.identity}
    rest = (row for row in material.memories if row.ref not in shown)
    return layer("knowledge", map(memory_line, rest), tokens)


def _plain(text: str) -> list[str]:
    """Return the lines of a model's text; a heading in it must not pass for one of ours."""
    return [line.lstrip("# ") for line in text.splitlines()]


def _week(material: Material, today: date, tokens: int) -> Layer:
    last = days.after(today, -2)
    first = days.after(today, -1 - WEEK)
    of_week = [
        summary
        for summary in sorted(material.summaries, key=lambda each: each.begin, reverse=True)
        if first <= date.fromisoformat(summary.day) <= last
    ]
    lines = [
        Line(text=f"{summary.day}: {line.text}", memory_id=line.memory_id)
        for summary in of_week
        for line in (*_volume(summary), *_still(summary, material.gone)[:OF_A_DAY])
    ]
    return layer("week", lines, tokens)


def _yesterday(material: Material, day: date, tokens: int) -> Layer:
    lines = [
        line
        for summary in sorted(material.summaries, key=lambda each: each.begin)
        if summary.day == day.isoformat()
        for line in (*_volume(summary), *_still(summary, material.gone))
    ]
    return layer("yesterday", lines, tokens, day=day)


def _volume(summary: DaySummarised) -> list[Line]:
    if not summary.messages:
        return []
    messages = "1 message" if summary.messages == 1 else f"{summary.messages:,} messages"
    conversations = (
        "1 open conversation"
        if summary.conversations == 1
        else f"{summary.conversations:,} open conversations"
    )
    return [Line(text=f"{messages} in {conversations}")]


def _still(summary: DaySummarised, gone: Collection[str]) -> list[Line]:
    return [line for line in summary.lines if line.memory_id not in gone]


def _today(material: Material, today: date, tokens: int) -> Layer:
    """Return the newest of today, in the order in which it happened."""
    zone = material.zone
    told = [
        Line(text=f"{days.clock(row.at, zone)} {line.text}", memory_id=line.memory_id)
        for row in reversed(material.today)
        for line in (happening_line(row),)
    ]
    newest, left_out = fit(reversed(collapsed(told)), tokens)
    return Layer(
        name="today", lines=tuple(reversed(newest)), left_out=left_out, day=today.isoformat()
    )


def _people(memories: Sequence[Happening]) -> tuple[PersonKnown, ...]:
    """Return the most important thing that everybody may know of each person, by id."""
    known: dict[str, PersonKnown] = {}
    for row in memories:
        if row.who and row.who not in known and row.memory_kind in ABOUT_PEOPLE:
            known[row.who] = PersonKnown(person=row.who, line=memory_line(row))
    return tuple(known[person] for person in sorted([*known][:MOST_PEOPLE]))
