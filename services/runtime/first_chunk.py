"""How long a model's first words take, where somebody listens to its answer being written."""

from services.runtime.clock import Clock
from services.runtime.model import Delta, OnDelta


class FirstChunk:
    """Listens along with whoever listens to one model call."""

    def __init__(self, on_delta: OnDelta | None, clock: Clock) -> None:
        self._on_delta = on_delta
        self._clock = clock
        self._started = clock.monotonic()
        self._at: float | None = None

    @property
    def listener(self) -> OnDelta | None:
        """Return what the model tells its deltas; None where nobody wants them."""
        return self._hear if self._on_delta is not None else None

    @property
    def after_ms(self) -> int | None:
        """Return the milliseconds to the first words of the answer; None where none were heard."""
        return None if self._at is None else round((self._at - self._started) * 1_000)

    def _hear(self, delta: Delta) -> None:
        if delta.reset:  # what came before is void, so the next is the first
            self._at = None
        elif self._at is None:
            self._at = self._clock.monotonic()
        if self._on_delta is not None:
            self._on_delta(delta)
