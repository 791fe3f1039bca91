"""One step that the rules decide on: calls of tools, or words."""

from dataclasses import dataclass
from typing import Any

ABOUT = (
    "I am Penstock's built-in offline model: simple rules, no language model. "
    "For a real one set ANTHROPIC_API_KEY (or OPENAI_API_KEY, OPENROUTER_API_KEY, GEMINI_API_KEY) "
    "or run Ollama, and start Penstock again."
)


@dataclass(frozen=True, slots=True)
class Step:
    """What to answer: calls in order, or a text; never neither."""

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    """Name and arguments."""


def call(name: str, **arguments: Any) -> Step:  # noqa: ANN401 - the tool's own arguments
    """Return the step that calls one tool."""
    return Step(calls=((name, arguments),))


def failure(output: str) -> str | None:
    """Return why a tool did not do it, as its output says; None when it seems to have done it."""
    first = output.strip().partition("\n")[0]
    lowered = first.lower()
    if lowered.startswith(FAILURES):
        return first
    return None


FAILURES = (
    "error",
    "failed",
    "refused",
    "rejected",
    "interrupted",
    "stopped",
    "unknown ",
    "no such",
    "not found",
    "cannot ",
    "could not",
    "invalid",
    "the arguments",
)
