"""Given events, when something happens, then an answer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Generic, TypeVar

from schemas.base import Event
from services.runtime.event_log import Recorded
from tests.support.builders import Given, story

S = TypeVar("S")  # state
A = TypeVar("A")  # answer


@dataclass(frozen=True)
class Spec(Generic[S, A]):
    """A fold under test, and the question that is asked of it."""

    initial: S
    evolve: Callable[[S, Recorded], S]
    ask: Callable[[S], A]

    def given(self, *past: Event | Given) -> "Past[S, A]":
        return Past(self, past)


@dataclass(frozen=True)
class Past(Generic[S, A]):
    """What has happened."""

    spec: Spec[S, A]
    events: tuple[Event | Given, ...]

    def when(self, *events: Event | Given) -> "Past[S, A]":
        return Past(self.spec, (*self.events, *events))

    def then(self, expected: A) -> None:
        answer = self.answer
        assert answer == expected, f"{answer!r} is not {expected!r}"

    @property
    def answer(self) -> A:
        return self.spec.ask(reduce(self.spec.evolve, story(*self.events), self.spec.initial))
