"""What is compared of a step, and how a difference reads."""

from collections.abc import Iterator
from difflib import unified_diff
from typing import Any, Final

import msgspec

from schemas.base import BodyRef
from schemas.catalogue import AnyEvent
from schemas.envelope import tag_of
from schemas.run import ModelCalled
from services.errors import ServiceError
from services.runtime.bodies import BodyStore

NOT_DECIDED: Final = frozenset({"owner", "duration_ms", "latency_ms", "first_chunk_ms", "full"})
"""Which process it was, how long it took, where an uncut output is: none of it is a decision."""
REQUEST: Final = frozenset({"prompt", "tools", "request"})
SHOWN: Final = 600  # characters of a step
DIFF_LINES: Final = 40


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """The first step of a run at which today's code does something else."""

    run_id: str
    step: int
    """Which of the run's recorded decisions, counted from 1."""
    seq: int
    """Where it was recorded; 0 where nothing was."""
    then: str
    now: str
    detail: tuple[str, ...] = ()


def differences(then: AnyEvent, now: AnyEvent, *, decisions_only: bool) -> dict[str, Any]:
    """Return the fields that differ, as `(then, now)`; `type` alone where the types do.

    Args:
        then: As it was recorded.
        now: As it would be today.
        decisions_only: Whether the bytes of requests to models count for nothing.
    """
    if then == now:
        return {}
    if type(then) is not type(now):
        return {"type": (tag_of(then), tag_of(now))}
    ignored = NOT_DECIDED | (REQUEST if decisions_only else frozenset())
    return {
        name: (getattr(then, name), getattr(now, name))
        for name in then.__struct_fields__
        if name not in ignored and getattr(then, name) != getattr(now, name)
    }


def told(event: AnyEvent | None) -> str:
    """Return an event as a line."""
    if event is None:
        return "nothing"
    fields = msgspec.to_builtins(event)
    for name in ("type", "run_id", "turn_id", *NOT_DECIDED):
        fields.pop(name, None)
    text = f"{tag_of(event)} {msgspec.json.encode(fields).decode()}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


async def explained(then: AnyEvent, fields: dict[str, Any], bodies: BodyStore) -> tuple[str, ...]:
    """Return what differs, field by field; for prompts and tools, line by line."""
    lines: list[str] = []
    for name, (before, after) in fields.items():
        if isinstance(then, ModelCalled) and name in {"prompt", "tools"}:
            lines += await _bytes(name, before, after, bodies)
        elif name != "request":
            lines.append(f"{name}: {before!r} → {after!r}")
    if "request" in fields and not lines:
        lines.append(
            "request: the messages differ, or their settings; prompt and tools are the same bytes. "
            "The request itself was not kept, only its hash"
        )
    return tuple(lines)


async def _bytes(name: str, before: str, after: str, bodies: BodyStore) -> Iterator[str]:
    try:
        old, new = [
            (await bodies.get(BodyRef(sha256=sha256, bytes=0))).decode()
            for sha256 in (before, after)
        ]
    except ServiceError as error:
        return iter((f"{name}: {before[:12]} → {after[:12]} ({error})",))
    if name == "tools":
        old, new = (msgspec.json.format(text, indent=1) for text in (old, new))
    changed = list(unified_diff(old.splitlines(), new.splitlines(), "then", "now", "", "", 1, ""))
    return iter((f"{name}:", *changed[:DIFF_LINES]))
