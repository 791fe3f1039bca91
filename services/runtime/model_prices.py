"""What a call consumed and cost, from the provider's count and LiteLLM's price list."""

from math import isfinite
from types import ModuleType
from typing import Any

from schemas.run import Usage

FREE = "ollama/"  # runs on one's own machine


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
