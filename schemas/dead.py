"""The dead-letter list: deliveries that no repetition would cure.

Subject:  evt.{tenant}.{agent}.{adapter}.{conversation}.dead._
Order:    delivery_parked, then delivery_retried when a person asks for it
Writer:   the consumer that gave up; the command line and the api
"""

from typing import TypeAlias

from msgspec.json import Decoder

from schemas.base import Attempt, Event


class DeliveryParked(Event, tag="delivery_parked"):
    """A service gave up on an event; the event itself is still in the log."""

    durable: str
    """The consumer that gave up."""
    subject: str
    """Where the event is."""
    seq: int
    """Its sequence in the log when it was parked."""
    reason: str
    attempts: Attempt = 1


class DeliveryRetried(Event, tag="delivery_retried"):
    """A person asked for a parked event to be handled again."""

    durable: str
    subject: str
    seq: int


DeadEvent: TypeAlias = DeliveryParked | DeliveryRetried
DEAD_EVENTS: Decoder[DeadEvent] = Decoder(DeadEvent)
