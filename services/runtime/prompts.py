"""System prompts: versioned files, sections in a fixed order, the same bytes every time.

What changes between calls (time, status) is never in here but in the note at the context's end, so
that a provider's prompt cache hits.
"""

from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from typing import Final

import msgspec

from services.runtime.agents import Agent
from services.runtime.clock import Clock
from services.runtime.model import ToolSpec

SEPARATOR: Final = "\n\n"


def load(package: str, name: str) -> str:
    """Return the prompt file `name` of a service's package, without its version line."""
    text = files(package).joinpath("prompts", name).read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    return (rest if first.startswith("<!-- version") else text).strip()


def system_prompt(agent: Agent, sections: str, briefing: str = "") -> str:
    """Return the whole system prompt: who the agent is, how its kind of run works, what it knows.

    What changes most often stands last, so that the rest stays cached when it does.
    """
    identity = f"# Who you are\n\nYou are {agent.name}."
    parts = [identity, agent.instructions.strip(), sections, briefing]
    return SEPARATOR.join(part for part in parts if part)


def time_note(clock: Clock) -> str:
    """Return the note that tells a run what time it is."""
    return f"[status] It is {moment(clock)}."


def moment(clock: Clock) -> str:
    """Return the present minute, for a model's eyes."""
    return f"{datetime.fromtimestamp(clock.now() / 1_000_000, UTC):%A, %Y-%m-%d %H:%M} UTC"


def tools_text(tools: tuple[ToolSpec, ...]) -> str:
    """Return the tool list as it is hashed and kept."""
    return msgspec.json.encode(tools, order="sorted").decode()


def digest(text: str | bytes) -> str:
    """Return the SHA-256 of a text, or of its bytes, hexadecimal."""
    return sha256(text.encode() if isinstance(text, str) else text).hexdigest()
