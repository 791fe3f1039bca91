"""What a tool is: typed arguments, one async function, and what to do when a crash cut it short.

Source: docs/adr on durable runs; the policies are requirement R4.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Generic, Literal, TypeVar

import msgspec

from schemas.base import MemoryId
from services.runtime import prompts
from services.runtime.model import ToolSpec

A = TypeVar("A", bound=msgspec.Struct)
S = TypeVar("S")

ToolStatus = Literal["ok", "error", "refused"]


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a tool gives back to the model."""

    text: str
    status: ToolStatus = "ok"
    full: bytes | None = None
    """Everything the tool produced, when `text` is a cut of it; kept in the object store."""
    recalled: tuple[MemoryId, ...] = ()
    """Memories that `text` shows, best first."""


@dataclass(frozen=True, slots=True)
class Tool(Generic[S, A]):
    """One tool of one kind of run; `S` is the scope that its kind hands to every call."""

    name: str
    description: str
    arguments: type[A]
    """A frozen Struct; its fields, units and descriptions become the JSON Schema."""
    run: Callable[[S, str, A], Awaitable[ToolOutput]]
    """`(scope, call_id, arguments)`; may raise `Rejected`, which the model sees as a refusal."""
    repeatable: bool = False
    """True when a call that was cut short may simply run again; otherwise the model is told
    "interrupted, outcome unknown" and looks before it acts."""

    def spec(self) -> ToolSpec:
        """Return the tool as the model sees it."""
        return ToolSpec(
            name=self.name, description=self.description, parameters=parameters(self.arguments)
        )


@lru_cache(maxsize=100)
def tool_list(tools: tuple[Tool[Any, Any], ...]) -> str:
    """Return the tools as they are hashed and kept; every run of a kind has the same."""
    return prompts.tools_text(tuple(tool.spec() for tool in tools))


def parameters(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON Schema of `arguments` with every reference inlined, deterministic.

    It is the caller's own: LiteLLM changes what it is given for some providers.
    """
    schema: dict[str, Any] = msgspec.json.decode(_encoded(arguments))
    return schema


@cache
def _encoded(arguments: type[msgspec.Struct]) -> bytes:
    (schema,), definitions = msgspec.json.schema_components([arguments], ref_template="{name}")

    def inline(node: Any) -> Any:  # noqa: ANN401 - JSON Schema is untyped
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return inline(definitions[node["$ref"]])
        kept = {key: inline(value) for key, value in node.items() if key != "title"}
        if "properties" in node:  # its keys are names of arguments, whatever they are
            kept["properties"] = {name: inline(it) for name, it in node["properties"].items()}
        return kept

    result: dict[str, Any] = inline(schema)
    result.pop("description", None)
    return msgspec.json.encode(result)
