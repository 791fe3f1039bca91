"""An embedder without a model: texts that share words, or synonyms, have like vectors."""

import math
from functools import lru_cache
from hashlib import sha256

from services.runtime.embedding import EmbedderUnavailable

SYNONYMS = {"kitten": "cat", "automobile": "car", "purchase": "buy", "physician": "doctor"}


class FakeEmbedder:
    """Counts what it is asked; `away` makes it unavailable."""

    def __init__(self, model="fake@1", dimensions=64) -> None:
        self.model = model
        self.dimensions = dimensions
        self.standing = "as a test says"
        self.embedded: list[str] = []
        self.away = False

    async def embed(self, texts):
        if self.away:
            raise EmbedderUnavailable("it is away")
        self.embedded += texts
        return [self.vector(text) for text in texts]

    def vector(self, text):
        numbers = [1e-6] * self.dimensions
        for word in text.lower().replace("?", "").split():
            numbers[_number(self.model, word) % self.dimensions] += 1.0
        length = math.sqrt(sum(number * number for number in numbers))
        return [number / length for number in numbers]


@lru_cache(maxsize=4_096)  # a benchmark embeds the same words again and again
def _number(model, word):
    digest = sha256((model + SYNONYMS.get(word, word)).encode()).digest()
    return int.from_bytes(digest[:4])
