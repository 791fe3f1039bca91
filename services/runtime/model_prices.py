"""What a call consumed and cost, from the provider's count and LiteLLM's price list."""

from collections.abc import Awaitable, Callable, Sequence
from math import isfinite
from types import ModuleType
from typing import Any, Final, TypeAlias

from schemas.run import Usage

FREE: Final = ("ollama/", "offline/")  # run on one's own machine

PriceOf: TypeAlias = Callable[[str, int, int], Awaitable[float | None]]
"""Dollars of a model's call with so many tokens in and out; None where nobody knows."""


class ChainPrices:
    """What a call may cost at most, whichever model of the chain of fallbacks answers it."""

    def __init__(self, price: PriceOf, fallbacks: Sequence[str]) -> None:
        self._price = price
        self._fallbacks = fallbacks

    async def most(self, model: str, input_tokens: int, output_tokens: int) -> float | None:
        """Return US dollars; None where the price of one of them is not known."""
        costs = [
            0.0 if one.startswith(FREE) else await self._price(one, input_tokens, output_tokens)
            for one in dict.fromkeys([model, *self._fallbacks])
        ]
        known = [cost for cost in costs if cost is not None]
        return max(known) if len(known) == len(costs) else None


class PriceList:
    """Prices by model; remembers which are not in the list, because looking in vain is slow."""

    def __init__(self) -> None:
        self._unknown: set[str] = set()

    def usage(self, litellm: ModuleType, model: str, counted: Any) -> Usage:  # noqa: ANN401 - LiteLLM's shape or our client's
        """Return the usage of one call of `model`; zeros when the provider did not count."""
        if counted is None:
            return Usage()
        details = getattr(counted, "prompt_tokens_details", None)
        prompt = max(0, counted.prompt_tokens or 0)  # an event that says less cannot be read again
        cached = getattr(details, "cached_tokens", None) or 0
        usage = Usage(
            input=prompt,
            output=max(0, counted.completion_tokens or 0),
            cached=min(max(0, cached), prompt),
        )
        written = getattr(counted, "cache_creation_input_tokens", None) or 0
        cost = self._cost(litellm, model, usage, written)
        return Usage(input=usage.input, output=usage.output, cached=usage.cached, cost_usd=cost)

    def most(
        self, litellm: ModuleType, model: str, input_tokens: int, output_tokens: int
    ) -> float | None:
        """Return dollars that a call may cost at most; None when the price is not known.

        Putting a prompt into a provider's cache may cost more than having it read.
        """
        usage = Usage(input=input_tokens, output=output_tokens)
        costs = [self._cost(litellm, model, usage, written) for written in (0, input_tokens)]
        return max((cost for cost in costs if cost is not None), default=None)

    def _cost(self, litellm: ModuleType, model: str, usage: Usage, written: int) -> float | None:
        """Return dollars; None when the price is not known. `written`: tokens put into a cache."""
        if model.startswith(FREE):
            return 0.0
        if model in self._unknown:
            return None
        provider, _, name = model.partition("/")
        try:
            costs = litellm.cost_per_token(
                model=name,
                custom_llm_provider=provider,
                prompt_tokens=usage.input,
                completion_tokens=usage.output,
                cache_read_input_tokens=usage.cached,
                cache_creation_input_tokens=written,
            )
        except Exception:  # noqa: BLE001 - LiteLLM's word for "not in the list" is a bare Exception
            self._unknown.add(model)
            return None
        cost = float(sum(costs))
        return max(0.0, cost) if isfinite(cost) else None
