"""One model out of several: attempts, a chain of fallbacks, and rest for what is rate limited.

Everything here holds for streamed answers too: what a failed attempt has shown is taken back.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from services.errors import ModelRefused, ModelUnavailable
from services.runtime.clock import Clock
from services.runtime.model import Delta, Model, ModelAnswer, ModelRequest, OnDelta

OFFLINE: Final = "offline/"
MAX_FALLBACKS: Final = 3


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How much is tried before a request fails."""

    fallbacks: Sequence[str] = ()
    """Models, `provider/name`, tried in this order after the one that was asked for."""
    attempts: int = 3
    """Per model."""
    backoff_ms: int = 500
    """Before the second attempt; doubled for each one after it."""
    cooldown_s: float = 60.0
    """How long a rate-limited model is passed over when there is another."""
    patience_s: float = 30.0
    """A provider that asks us to wait longer is not waited for."""


class Cooldowns(Protocol):
    """Which models are resting; shared, so that one replica's rate limit spares the others."""

    async def cool(self, model: str, seconds: float) -> None:
        """Let `model` rest."""
        ...

    async def is_cooling(self, model: str) -> bool:
        """Return whether `model` is resting."""
        ...


class ProcessCooldowns:
    """Cooldowns of this process alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    async def cool(self, model: str, seconds: float) -> None:
        """Let `model` rest; the longer of two rests holds."""
        until = self._clock.monotonic() + seconds
        self._until[model] = max(until, self._until.get(model, until))

    async def is_cooling(self, model: str) -> bool:
        """Return whether `model` is resting."""
        return self.left(model) > 0

    def left(self, model: str) -> float:
        """Return the seconds that `model` still rests, 0 or less when it does not."""
        now = self._clock.monotonic()
        return self._until.get(model, now) - now


class Router:
    """Answers with the model that was asked for, or with the next best that does."""

    def __init__(
        self,
        providers: Model,
        offline: Model,
        *,
        policy: RetryPolicy,
        clock: Clock,
        cooldowns: Cooldowns,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        """Store the parts; `jitter` returns a factor for each delay, about 1."""
        self._providers = providers
        self._offline = offline
        self._policy = policy
        self._clock = clock
        self._cooldowns = cooldowns
        self._jitter = jitter or _jitter

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelAnswer:
        """Return the first whole answer that a model of the chain gives.

        Raises:
            ModelUnavailable: none answered, and at least one may later.
            ModelRefused: every one of them refused.
            ContextOverflow: the request does not fit; no other model is tried, so that the caller
                shortens the context and stays with its model.
        """
        failures: list[ModelUnavailable | ModelRefused] = []
        chain = await self._chain(request.model)
        for place, model in enumerate(chain, start=1):
            try:
                named = msgspec.structs.replace(request, model=model)
                return await self._attempts(named, on_delta, is_last=place == len(chain))
            except (ModelUnavailable, ModelRefused) as error:
                failures.append(error)
        raise _joined(failures)

    async def _chain(self, model: str) -> list[str]:
        """Return the models to try, in order: those that rest only if all do."""
        chain = list(dict.fromkeys([model, *self._policy.fallbacks[:MAX_FALLBACKS]]))
        awake = [name for name in chain if not await self._cooldowns.is_cooling(name)]
        return awake or chain

    async def _attempts(
        self, request: ModelRequest, on_delta: OnDelta | None, *, is_last: bool
    ) -> ModelAnswer:
        """Ask one model until it answers, refuses, or has been asked often enough."""
        attempt = 1
        while True:
            try:
                return await self._once(request, on_delta)
            except ModelUnavailable as error:
                delay = self._delay(error, attempt)
                if error.rate_limited:
                    rest = max(self._policy.cooldown_s, error.retry_after_s or 0.0)
                    await self._cooldowns.cool(request.model, rest)
                    if not is_last:
                        raise
                if attempt >= self._policy.attempts or delay > self._policy.patience_s:
                    raise
            await self._clock.sleep(delay)
            attempt += 1

    async def _once(self, request: ModelRequest, on_delta: OnDelta | None) -> ModelAnswer:
        """Ask once; an attempt that fails takes back what it has shown."""
        model = self._offline if request.model.startswith(OFFLINE) else self._providers
        if on_delta is None:
            return await model.complete(request)
        shown = False

        def show(delta: Delta) -> None:
            nonlocal shown
            shown = True
            on_delta(delta)

        try:
            return await model.complete(request, show)
        except Exception:
            if shown:
                on_delta(Delta(text="", reset=True))
            raise

    def _delay(self, error: ModelUnavailable, attempt: int) -> float:
        """Return seconds to wait after the failed `attempt`, counted from 1."""
        backoff = self._policy.backoff_ms / 1_000 * (1 << attempt - 1) * self._jitter()
        return max(backoff, error.retry_after_s or 0.0)


def _joined(failures: Sequence[ModelUnavailable | ModelRefused]) -> ModelUnavailable | ModelRefused:
    """Return one failure that says what every model said."""
    said = "; then ".join(str(failure) for failure in failures)
    temporary = [failure for failure in failures if isinstance(failure, ModelUnavailable)]
    if not temporary:
        return ModelRefused(said)
    waits = [failure.retry_after_s for failure in temporary if failure.retry_after_s is not None]
    return ModelUnavailable(
        said,
        retry_after_s=min(waits, default=None),
        rate_limited=all(failure.rate_limited for failure in temporary),
    )


def _jitter() -> float:
    return random.uniform(0.75, 1.25)  # noqa: S311 - spreads replicas; nobody gains by guessing it
