"""Vectors by FastEmbed, in threads of their own; the first loads the model when it is needed.

They are daemons: a hub that does not answer keeps neither a search nor the end of the process
waiting. Short requests go first, so that a question need not wait for a long document. Each thread
takes a batch for itself: sharing each product of matrices among threads, as onnxruntime would, they
wait for one another, the more the busier the machine is.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from queue import PriorityQueue
from threading import Thread
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

import structlog

from services.runtime.clock import Clock
from services.runtime.config import EmbeddingSettings
from services.runtime.embedding import EmbedderUnavailable, Vector
from services.runtime.model_folder import FETCH, FIX, ModelFolder, is_fetched

if TYPE_CHECKING:
    from fastembed import TextEmbedding

BATCH_TOKENS: Final = 768  # at once; more are no faster, and a question waits for one batch at most
LOAD_S: Final = 60.0  # longest wait for a model that lies on the disk; a question waits less
RETRY_S: Final = 300.0  # after a failure; a hub that is out of reach is not asked for every search

State: TypeAlias = Literal["cold", "loading", "fetching", "ready", "failed"]

T = TypeVar("T")

log = structlog.get_logger()


class NothingHere(EmbedderUnavailable):
    """No model is here, and none may be fetched."""

    def __init__(self) -> None:
        super().__init__(
            "no embedding model is here, and embeddings.fetch is off",
            fix="Set embeddings.path to a folder with a model, or allow fetching.",
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """Texts that somebody waits for the vectors of."""

    texts: Sequence[str]
    done: asyncio.Future[list[Vector]]
    loop: asyncio.AbstractEventLoop
    vectors: dict[int, Vector] = field(default_factory=dict)

    def keep(self, batch: Sequence[int], made: Sequence[Vector]) -> None:
        """Take the vectors of a batch; on the event loop."""
        self.vectors.update(zip(batch, made, strict=True))
        if len(self.vectors) == len(self.texts):
            _set_result(self.done, [self.vectors[at] for at in range(len(self.texts))])


@dataclass(order=True, frozen=True, slots=True)
class _Work:
    """What a thread does at a time; for the shortest list first, then for the oldest."""

    size: int
    number: int
    asked: _Asked = field(compare=False)
    batch: Sequence[int] | None = field(default=None, compare=False)
    """Where in the list the texts are; None to divide the list into batches."""


class FastEmbedder:
    """One model.

    Args:
        settings: Which model, and where.
        cache: Folder of fetched models.
        clock: Tells when a failure may be tried again.
    """

    def __init__(self, settings: EmbeddingSettings, cache: Path, clock: Clock) -> None:
        self._settings = settings
        self._cache = cache
        self._clock = clock
        self._numbers = count()
        self._work: PriorityQueue[_Work] = PriorityQueue()
        self._state: State = "cold"
        self._problem: EmbedderUnavailable | None = None
        self._retry_at = 0.0
        self._loaded: asyncio.Future[None] | None = None
        self._dimensions = 0
        self._folder: ModelFolder | None = None
        self._look()

    @property
    def model(self) -> str:
        """Return the model's name, for ever the same for the same vectors."""
        return self._folder.name if self._folder else self._settings.model

    @property
    def dimensions(self) -> int:
        """Return how many numbers a vector has; 0 until the first one was made."""
        return self._dimensions

    @property
    def standing(self) -> str:
        """Say in a sentence whether there are vectors, and what to do if there are none."""
        match self._state:
            case "ready":
                return f"by words, links and meaning ({self.model})"
            case "cold" | "loading":
                return f"by words, links and meaning ({self.model}, loaded when first needed)"
            case "fetching":
                return f"by words and links alone until {self.model} is fetched"
            case "failed":
                problem = self._problem
                fix = problem.fix if problem and problem.fix else "It is tried again by itself."
                return f"by words and links alone: {problem}. {fix}"

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Return a vector for each text, in order, without blocking the event loop.

        Raises:
            EmbedderUnavailable: there are none now.
        """
        await self._ready()
        if not texts:
            return []
        loop = asyncio.get_running_loop()
        asked = _Asked(texts, loop.create_future(), loop)
        self._work.put(_Work(len(texts), next(self._numbers), asked))
        return await asked.done

    async def _ready(self) -> None:
        """Wait until the model is there, not for a download."""
        if self._state == "failed" and self._clock.monotonic() >= self._retry_at:
            self._look()
        if self._state == "cold":
            self._start()
        if self._state == "loading" and self._loaded is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._loaded), LOAD_S)
        if self._state == "failed" and self._problem is not None:
            raise self._problem
        if self._state != "ready":
            raise EmbedderUnavailable(f"the embedding model {self.model} is not there yet")

    def _look(self) -> None:
        """See what can be known of the model without loading anything."""
        self._state, self._problem = "cold", None
        settings = self._settings
        try:
            if settings.path is not None:
                self._folder = ModelFolder(settings.path)
                self._dimensions = self._folder.dimensions
            elif not settings.fetch and not is_fetched(settings.model, self._cache):
                raise NothingHere
        except EmbedderUnavailable as problem:
            self._fail(problem)

    def _fail(self, problem: EmbedderUnavailable) -> None:
        self._state, self._problem = "failed", problem
        self._retry_at = self._clock.monotonic() + RETRY_S

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        here = self._folder is not None or is_fetched(self._settings.model, self._cache)
        self._state = "loading" if here else "fetching"
        self._loaded = loop.create_future()
        Thread(target=self._run, args=(loop, self._loaded), name="embedder", daemon=True).start()

    def _run(self, loop: asyncio.AbstractEventLoop, loaded: asyncio.Future[None]) -> None:
        """Load the model and turn texts into vectors, for ever; in the first thread."""
        try:
            model = self._load()
            dimensions = len(next(iter(model.embed(["dimensions"]))))
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the search goes on
            _tell(loop, self._on_failed, error, loaded)
            return
        _tell(loop, self._on_ready, dimensions, loaded)
        threads = self._settings.threads or max(1, (os.cpu_count() or 1) // 2)
        for number in range(1, threads):
            name = f"embedder {number}"
            Thread(target=self._embed, args=(model,), name=name, daemon=True).start()
        self._embed(model)

    def _embed(self, model: "TextEmbedding") -> None:
        """Do what there is to do, for ever; in a thread."""
        while True:
            work = self._work.get()
            asked = work.asked
            if asked.done.done():
                continue  # nobody waits any more
            try:
                if work.batch is None:
                    for batch in batches(_sizes(model, asked.texts)):
                        self._work.put(replace(work, batch=batch))
                    continue
                texts = [asked.texts[at] for at in work.batch]
                made = [vector.tolist() for vector in model.embed(texts, batch_size=len(texts))]
            except Exception as error:  # noqa: BLE001 - one text must not end the thread
                unavailable = EmbedderUnavailable(f"a text has no vector: {error!r}")
                _tell(asked.loop, _set_exception, asked.done, unavailable)
            else:
                _tell(asked.loop, asked.keep, work.batch, made)

    def _load(self) -> "TextEmbedding":
        from services.runtime import fastembed_import  # noqa: PLC0415 - takes a second and 90 MB

        if self._folder is not None:
            return fastembed_import.from_folder(self._folder)
        return fastembed_import.by_name(
            self._settings.model, self._cache, fetch=self._settings.fetch
        )

    def _on_ready(self, dimensions: int, loaded: asyncio.Future[None]) -> None:
        self._state, self._dimensions, self._problem = "ready", dimensions, None
        log.info("embedder.ready", model=self.model, dimensions=dimensions)
        _set_result(loaded, None)

    def _on_failed(self, error: Exception, loaded: asyncio.Future[None]) -> None:
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        if self._folder is None:
            problem = EmbedderUnavailable(f"{self.model} cannot be fetched: {reason}", fix=FETCH)
        else:
            where = self._settings.path
            problem = EmbedderUnavailable(f"the model in {where} is damaged: {reason}", fix=FIX)
        self._fail(problem)
        log.warning("embedder.unavailable", reason=str(problem), fix=problem.fix)
        _set_result(loaded, None)


def _sizes(model: "TextEmbedding", texts: Sequence[str]) -> list[int]:
    """Return how many tokens texts have; of one alone nobody needs to know."""
    return [1] if len(texts) == 1 else [model.token_count(text) for text in texts]


def batches(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Yield where texts are of so many tokens, those of like length together.

    The model reads every text of a batch as if it were as long as the longest one. Among texts of
    like length in letters, code or another language may have twice the tokens.
    """
    batch: list[int] = []
    for at in sorted(range(len(sizes)), key=sizes.__getitem__):
        if batch and (len(batch) + 1) * sizes[at] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    """Call something on the event loop, from the thread."""
    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waits
        loop.call_soon_threadsafe(call, *arguments)


def _set_result(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
