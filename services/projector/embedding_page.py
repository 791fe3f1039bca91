"""Texts on their way to having vectors: first they are asked for, then, in turn, they are kept."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from projections import vectors
from projections.vectors import VectorModel
from services.runtime.cancelling import end
from services.runtime.database import Conn
from services.runtime.embedding import Embedder, Vector


class Unusable(Exception):
    """The vectors that we make do not go with those that are there; a person has to decide."""


class Missing(Protocol):
    """What has no vector yet."""

    @property
    def sha256(self) -> bytes:
        """Return the key under which the text's vector is kept."""
        ...

    @property
    def text(self) -> str:
        """Return what is to be embedded."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """Texts that are embedded together, and kept in one transaction."""

    model: str
    known: Mapping[bytes, int]
    """Those that had vectors, and how long these are."""
    new: Sequence[bytes]
    """Those that are embedded for this page."""
    made: "asyncio.Task[list[Vector]]"

    async def keep(self, conn: Conn, add: Callable[[], Awaitable[None]]) -> None:
        """Wait for the vectors, keep them, and let what they are of be found by them.

        Raises:
            EmbedderUnavailable: there are none now.
            Unusable: they are of another length than those that are there.
        """
        made = await self.made
        async with conn.transaction():
            for each in {*self.known.values(), *map(len, made)}:
                same(await vectors.add_model(conn, self.model, each), each)
            await vectors.cache(conn, self.model, dict(zip(self.new, made, strict=True)))
            await add()

    async def drop(self) -> None:
        """Let go of it; what it would have kept is made again."""
        await end(self.made)


async def start(
    conn: Conn, embedder: Embedder, items: Sequence[Missing], *, before: Page | None = None
) -> Page:
    """Have the vectors made of the texts that have none; `before` will have been kept by then."""
    texts = {each.sha256: each.text for each in items}
    known = await vectors.cached(conn, embedder.model, list(texts))
    awaited = before.new if before else ()
    new = [key for key in texts if key not in known and key not in awaited]
    made = asyncio.create_task(_embed(embedder, [texts[key] for key in new]))
    return Page(embedder.model, known, new, made)


async def _embed(embedder: Embedder, texts: Sequence[str]) -> list[Vector]:
    return await embedder.embed(texts) if texts else []


def same(found: VectorModel, dimensions: int) -> None:
    """Refuse vectors of another length than those that are there.

    Raises:
        Unusable: says what to do.
    """
    if found.dimensions != dimensions:
        raise Unusable(
            f"the model {found.model} now gives {dimensions} numbers, and {found.dimensions} "
            "before: memories are found by words and links alone until embeddings.path names the "
            "former model, or a folder of another name"
        )
