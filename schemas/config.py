"""The control plane: which tenants and agents there are, as events.

Subject:  evt.{tenant}._._._.config._
Order:    agent_defined any number of times for an agent; the last one counts
Writer:   the process that reads the configuration file, and the api
"""

from typing import TypeAlias

from msgspec.json import Decoder

from schemas.base import AgentId, Event


class AgentDefined(Event, tag="agent_defined"):
    """An agent exists, from now on with these properties."""

    agent: AgentId
    name: str
    """What people call it."""
    instructions: str = ""
    """Who it is and how it should behave; part of its system prompts."""
    model: str | None = None
    """Overrides the installation's model for this agent."""


class AgentRetired(Event, tag="agent_retired"):
    """An agent takes no more messages."""

    agent: AgentId


ConfigEvent: TypeAlias = AgentDefined | AgentRetired
CONFIG_EVENTS: Decoder[ConfigEvent] = Decoder(ConfigEvent)
