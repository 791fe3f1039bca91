"""Many memories of several tenants, with vectors in clusters, as real ones are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice

import numpy as np
import psycopg
from psycopg import sql

from projections import vectors
from projections.registry import BY_NAME
from schemas.base import EventId, MemoryId
from schemas.envelope import encode, seal
from schemas.memory import MemorySaved
from schemas.subjects import Subject
from services.runtime.database import Conn
from services.runtime.recording import record

MODEL = "clusters@1"
DIMENSIONS = 384
TOPICS = 200
WORDS = 5_000
KINDS = ("fact", "preference", "decision", "event", "observation", "todo")
BATCH = 1_000
HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Member:
    """One memory of the crowd."""

    tenant: str
    id: str
    text: str
    kind: str
    scope: str
    person: str
    vector: np.ndarray


class Crowd:
    """Random but repeatable: a topic has a centre in space, and words that it prefers."""

    def __init__(self, sizes: dict[str, int], seed: int = 7) -> None:
        self.random = np.random.default_rng(seed)
        self.sizes = sizes
        self.centres = _unit(self.random.normal(size=(TOPICS, DIMENSIONS)))
        self.words = [_word(number) for number in range(WORDS)]
        frequency = 1 / np.arange(1, WORDS + 1)
        self.common = frequency / frequency.sum()
        self.members: list[Member] = []

    def near(self, topic: int) -> np.ndarray:
        """Return a vector of the topic."""
        noise = self.random.normal(size=DIMENSIONS) / np.sqrt(DIMENSIONS)
        return _unit(self.centres[topic] + 0.8 * noise)

    def sentence(self, topic: int, words: int = 12) -> str:
        """Return words, half of them of the topic."""
        common = self.random.choice(WORDS, size=words // 2, p=self.common)
        own = (topic * 23 + self.random.integers(0, 23, size=words - words // 2)) % WORDS
        return " ".join(self.words[number] for number in self.random.permutation([*common, *own]))

    def tell(self) -> Iterator[Member]:
        """Yield every memory, the tenants' mixed with one another."""
        tenants = [tenant for tenant, size in self.sizes.items() for _ in range(size)]
        self.random.shuffle(tenants)
        for number, tenant in enumerate(tenants):
            topic = int(self.random.integers(TOPICS))
            yield Member(
                tenant=tenant,
                id=f"m{number}",
                text=f"{self.sentence(topic)} {number}",
                kind=str(self.random.choice(KINDS)),
                scope=str(self.random.choice(("agent", "person"), p=(0.8, 0.2))),
                person=f"portal:p{self.random.integers(20)}",
                vector=self.near(topic),
            )

    async def fill(self, conn: Conn) -> None:
        """Save them all, and their vectors, with an index where there are enough."""
        await vectors.add_model(conn, MODEL, DIMENSIONS)
        remaining = self.tell()
        while page := list(islice(remaining, BATCH)):
            await BY_NAME["memories"].apply(conn, [self._event(member) for member in page])
            async with conn.cursor() as cursor:
                copying = cursor.copy("COPY embeddings (model, sha256, vector) FROM STDIN")
                async with copying as copy:
                    for member in page:
                        key = sha256(member.text.encode()).digest()
                        await copy.write_row((MODEL, key, vectors.encode(member.vector.tolist())))
            self.members += page
        await conn.execute("ANALYZE")
        while True:
            page = await vectors.missing(conn, MODEL, after=0, limit=20_000)
            if not page:
                break
            await vectors.add(conn, MODEL, page)
        await vectors.switch(conn, MODEL)
        found = await vectors.model(conn, MODEL)
        assert found is not None
        if await vectors.needs_index(conn, found):
            await vectors.index(conn, found)

    def _event(self, member: Member):
        number = int(member.id[1:])
        saved = MemorySaved(
            memory_id=MemoryId(member.id),
            kind=member.kind,
            text=member.text,
            importance=0.5,
            scope=member.scope,
            person=member.person,
            conversation=f"portal/c{number % 500}",
        )
        sealed = seal(saved, id=EventId(f"e{number}"), at=number * HOUR // 4, actor="test")
        subject = str(Subject(member.tenant, "atlas", entity="memory"))
        return record(number + 1, subject, encode(sealed))

    def nearest(
        self, tenant: str, vector: np.ndarray, *, kind: str | None = None, k: int = 10
    ) -> list[str]:
        """Return what a scan of everything that anyone may see finds."""
        seen = [
            member
            for member in self.members
            if member.tenant == tenant
            and member.scope == "agent"
            and (kind is None or member.kind == kind)
        ]
        scores = np.array([member.vector for member in seen]) @ vector
        return [seen[at].id for at in np.argsort(-scores)[:k]]


def recall_of(found: Sequence[str], exact: Sequence[str]) -> float:
    """Return the share of the exact answer that was found."""
    return len(set(found) & set(exact)) / len(exact)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def _word(number: int) -> str:
    letters = "bcdfghjklmnprstvz"
    vowels = "aeiou"
    text = ""
    number += 300
    while number:
        number, letter = divmod(number, len(letters))
        text += letters[letter] + vowels[(number + letter) % 5]
    return text


async def make(url: str, crowd: Crowd) -> None:
    """Fill a database that is migrated."""
    async with await psycopg.AsyncConnection.connect(url) as conn:
        await conn.execute(sql.SQL("SET synchronous_commit = off"))
        await crowd.fill(conn)
