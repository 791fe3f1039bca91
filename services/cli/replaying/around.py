"""What happened around agents, as the read model had it then: folded from a recording, in memory.

The rows are the projection's own; what is asked of them follows the queries of
`projections/activity.sql`, and an integration test holds the two together.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final, TypeAlias, cast

import msgspec

from projections import activity
from projections._statement import Row, Statement, storable
from projections.activity import ACTIVITY, PLACES, Happening, Place, Said
from schemas.memory import MemoryKind
from services.cli.replaying.recording import Recording
from services.cortex.reading import Around
from services.runtime.event_log import EVERYTHING

KEPT: Final = 5_000  # changes that can be taken back
MOST_PLACES: Final = 10  # as many as the query gives

Rows: TypeAlias = dict[object, Row]


class _Change(msgspec.Struct, frozen=True):
    """A row as it was before an event."""

    seq: int
    tenant: str
    rows: Rows
    key: tuple[object, ...]
    before: Row | None


class AroundThen(Around):
    """The read model up to a sequence, which can be moved: ahead, and a little back."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._begin()

    def _begin(self) -> None:
        self._seq = self._floor = 0
        self._happened: dict[tuple[object, ...], Rows] = {}
        self._messages: dict[tuple[object, ...], Rows] = {}
        self._places: dict[tuple[object, ...], Rows] = {}
        self._changes: deque[_Change] = deque()

    # -- moving ------------------------------------------------------------------------------

    def show(self, seq: int) -> None:
        """Be as it was with everything up to a sequence."""
        if seq < self._floor:
            self._begin()
        while self._changes and self._changes[-1].seq > seq:
            change = self._changes.pop()
            if change.before is None:
                del change.rows[change.key]
            else:
                change.rows[change.key] = change.before
        for recorded in self._recording.select(EVERYTHING, self._seq, seq):
            for statement in activity.project(recorded):
                self._apply(statement, recorded.seq)
        self._seq = seq

    def before(self, tenant: str) -> Iterator[int]:
        """Yield the positions before what was last changed for a tenant, the newest first."""
        last = 0
        for change in reversed(list(self._changes)):
            if change.tenant == tenant and change.seq != last:
                last = change.seq
                yield last - 1

    def _apply(self, statement: Statement, seq: int) -> None:
        row = cast("Row", storable(statement.row))
        agent = (row["tenant"], row["agent"])
        if statement.into is PLACES:
            place = (*agent, row["adapter"], row["conversation"])
            self._keep(self._places.setdefault(agent, {}), place, seq)
            PLACES.fold(self._places[agent], row)
            if "closed_seq" in row:
                self._places[agent][place]["since"] = None
        elif statement.into is ACTIVITY:
            key = (*agent, row["ref"])
            rows = self._happened.setdefault(agent, {})
            if row.get("kind") == "message":
                rows = self._messages.setdefault(agent, {})
                if key not in rows:
                    self._open(agent, row, seq)
            self._keep(rows, key, seq)
            ACTIVITY.fold(rows, row)

    def _open(self, agent: tuple[object, ...], message: Row, seq: int) -> None:
        """Note since when a conversation is open: it begins with a message that is said in it."""
        place = (*agent, message["adapter"], message["conversation"])
        rows = self._places.setdefault(agent, {})
        self._keep(rows, place, seq)
        row = rows.setdefault(place, {})
        row["since"] = row.get("since") or seq

    def _keep(self, rows: Rows, key: tuple[object, ...], seq: int) -> None:
        """Keep a row as it is, for `show` to go back to."""
        if len(self._changes) == KEPT:
            self._floor = self._changes.popleft().seq
        known = rows.get(key)
        before = known.copy() if known is not None else None
        self._changes.append(_Change(seq, str(key[0]), rows, key, before))

    # -- asking ------------------------------------------------------------------------------

    async def has(self, seq: int) -> bool:
        """Tell that it has everything, as it had when what was decided was decided."""
        del seq
        return True

    async def first_since(self, tenant: str, agent: str, *, begin: int) -> int | None:
        """Return when something first happened at or after `begin`, or None."""
        rows = [*self._in(tenant, agent, begin), *self._in(tenant, agent, begin, messages=True)]
        return min((_int(row, "at") for row in rows), default=None)

    async def between(
        self, tenant: str, agent: str, *, begin: int, until: int, limit: int = 500
    ) -> list[Happening]:
        """Return what happened at `begin` <= time < `until`, newest first."""
        found = [row for row in self._in(tenant, agent, begin, until) if row.get("kind")]
        found.sort(key=lambda row: (_int(row, "at"), _int(row, "seq")), reverse=True)
        return list(map(_happening, found[:limit]))

    async def said(self, tenant: str, agent: str, *, begin: int, until: int) -> Said:
        """Return how much people said in the open at `begin` <= time < `until`."""
        found = list(self._in(tenant, agent, begin, until, messages=True))
        where = {(row["adapter"], row["conversation"]) for row in found}
        return Said(messages=len(found), conversations=len(where))

    async def remembered(
        self, tenant: str, agent: str, *, kinds: Sequence[MemoryKind] | None = None, limit: int
    ) -> list[Happening]:
        """Return what everybody may know, the most important first."""
        found = [
            row
            for (of, by), rows in self._happened.items()
            if of == tenant
            for row in rows.values()
            if (by == agent or row.get("scope") == "tenant")
            and row.get("kind") == "memory"
            and row.get("gone_at") is None
            and (kinds is None or row.get("memory_kind") in kinds)
        ]
        found.sort(key=lambda row: (-cast("float", row["importance"]), _int(row, "seq")))
        return list(map(_happening, found[:limit]))

    async def gone(self, tenant: str, refs: Sequence[str]) -> set[str]:
        """Return those of these memories that are forgotten or replaced."""
        return {
            ref
            for (of, by), rows in self._happened.items()
            if of == tenant
            for ref in refs
            if rows.get((of, by, ref), {}).get("gone_at") is not None
        }

    async def places(self, tenant: str, agent: str, *, since: int) -> list[Place]:
        """Return open conversations in which something was said since then."""
        lively = [
            msgspec.convert({name: row[name] for name in Place.__struct_fields__}, Place)
            for row in self._places.get((tenant, agent), {}).values()
            if row.get("said_at") is not None
            and _int(row, "said_at") >= since
            and _int(row, "open_seq") > _int(row, "closed_seq")
        ]
        newest = sorted(lively, key=lambda it: it.said_at, reverse=True)[:MOST_PLACES]
        return sorted(newest, key=lambda it: (it.adapter, it.conversation))

    def _in(
        self,
        tenant: str,
        agent: str,
        begin: int,
        until: int | None = None,
        *,
        messages: bool = False,
    ) -> Iterator[Row]:
        """Yield what happened in some time, where everybody may know it."""
        places = self._places.get((tenant, agent), {})
        kept = self._messages if messages else self._happened
        for row in kept.get((tenant, agent), {}).values():
            at = row.get("at")
            if not isinstance(at, int) or at < begin or (until is not None and at >= until):
                continue
            if row.get("gone_at") is None and _is_open(row, places):
                yield row


def _is_open(row: Row, places: Rows) -> bool:
    if row.get("conversation") is None:
        return True
    where = itemgetter("tenant", "agent", "adapter", "conversation")(row)
    since = places.get(where, {}).get("since")
    return isinstance(since, int) and since <= _int(row, "seq")


def _happening(row: Row) -> Happening:
    return msgspec.convert({name: row.get(name) for name in Happening.__struct_fields__}, Happening)


def _int(row: Row, column: str) -> int:
    """Return a number, 0 where there is none."""
    value = row.get(column)
    return value if isinstance(value, int) else 0
