"""An answer while it streams in: text and tool calls, put together from their pieces."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.run import ToolCall
from services.runtime import ids
from services.runtime.model import Delta, ModelRequest, OnDelta


class FunctionPiece(Protocol):
    """More of a call's name or arguments."""

    name: str | None
    arguments: str | None


class CallPiece(Protocol):
    """More of one tool call."""

    index: int | None
    id: str | None
    function: FunctionPiece


class Piece(Protocol):
    """More of the answer."""

    content: str | None
    tool_calls: Sequence[CallPiece] | None


class Choice(Protocol):
    """One entry of a chunk's `choices`; LiteLLM's and our own client's both look like this."""

    delta: Piece
    finish_reason: str | None


@dataclass(slots=True)
class CallDraft:
    """One tool call so far."""

    id: str
    given: str | None
    """The id that the server used, which need not be unique."""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class AnswerDraft:
    """Everything that came so far."""

    on_delta: OnDelta | None = None
    taken: Collection[str] = ()
    """Ids of the run's earlier calls, which some servers give out again."""
    text: list[str] = field(default_factory=list)
    calls: list[CallDraft] = field(default_factory=list)
    finish: str = ""
    """Empty while the provider has not said that the answer is whole."""
    _by_index: dict[int, CallDraft] = field(default_factory=dict)

    @classmethod
    def of(cls, request: ModelRequest, on_delta: OnDelta | None) -> "AnswerDraft":
        """Return the draft of an answer to `request`."""
        taken = {call.id for message in request.messages for call in message.tool_calls}
        return cls(on_delta=on_delta, taken=taken)

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a call nor a visible text."""
        return not self.calls and not any(map(str.strip, self.text))

    def add(self, choices: Iterable[Choice]) -> None:
        """Take in what one chunk brings, and show it."""
        for choice in choices:
            for delta in self._added(choice.delta):
                if self.on_delta is not None:
                    self.on_delta(delta)
            self.finish = choice.finish_reason or self.finish

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Return the calls in the order in which they began."""
        return tuple(
            ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments))
            for call in self.calls
        )

    def _added(self, piece: Piece) -> Iterator[Delta]:
        if piece.content:
            self.text.append(piece.content)
            yield Delta(text=piece.content)
        for part in piece.tool_calls or ():
            call = self._call(part)
            call.name = call.name or part.function.name or ""
            if part.function.arguments:
                call.arguments.append(part.function.arguments)
                yield Delta(text=part.function.arguments, tool=call.name)

    def _call(self, part: CallPiece) -> CallDraft:
        """Return the call that `part` continues, or a new one.

        Some servers number every call 0 and tell them apart by their ids alone.
        """
        known = self._by_index.get(part.index or 0)
        if known is not None and (not part.id or part.id == known.given):
            return known
        used = {call.id for call in self.calls}
        is_new = bool(part.id) and part.id not in used and part.id not in self.taken
        call = CallDraft(id=part.id if part.id and is_new else ids.new(), given=part.id)
        self.calls.append(call)
        self._by_index[part.index or 0] = call
        return call
