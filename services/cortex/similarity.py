"""How much texts have in common: by their vectors where there are any, else by their words."""

import re
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from services.errors import ServiceError
from services.runtime.embedding import Embedder

_WORD: Final = re.compile(r"\w+")
SHORT: Final = 3  # characters; shorter words say little

log = structlog.get_logger()


class Similarity(Protocol):
    """Compares one text with others."""

    async def of(self, text: str, others: Sequence[str]) -> list[float]:
        """Return a number from 0 to 1 for each of the others, in order."""
        ...


class OfWords:
    """The share of words that two texts have in common (Dice's coefficient)."""

    async def of(self, text: str, others: Sequence[str]) -> list[float]:
        """Return a number for each of the others."""
        return [dice(text, other) for other in others]


class OfVectors:
    """The cosine of two texts' vectors; their words while no vectors can be had."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._words = OfWords()

    async def of(self, text: str, others: Sequence[str]) -> list[float]:
        """Return a number for each of the others."""
        try:
            one, *rest = await self._embedder.embed([text, *others])
        except ServiceError as error:
            log.info("cortex.no_vectors", reason=str(error))
            return await self._words.of(text, others)
        return [min(1.0, max(0.0, float(sum(map(_times, one, each))))) for each in rest]


def dice(one: str, other: str) -> float:
    """Return the share of words that two texts have in common, from 0 to 1."""
    first, second = _words(one), _words(other)
    if not first or not second:
        return 0.0
    return 2 * len(first & second) / (len(first) + len(second))


def _words(text: str) -> frozenset[str]:
    found = frozenset(_WORD.findall(text.lower()))
    return frozenset(word for word in found if len(word) > SHORT or word.isdigit()) or found


def _times(one: float, other: float) -> float:
    return one * other
