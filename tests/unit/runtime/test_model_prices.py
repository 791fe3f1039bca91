"""What a provider counts is believed as far as an event can hold it."""

from types import ModuleType, SimpleNamespace

import msgspec
import pytest

from schemas.run import Usage
from services.runtime.model_prices import PriceList


def litellm(cost):
    module = ModuleType("litellm")
    module.cost_per_token = lambda **_: cost
    return module


def counted(prompt, completion, cached=0):
    details = SimpleNamespace(cached_tokens=cached)
    return SimpleNamespace(
        prompt_tokens=prompt, completion_tokens=completion, prompt_tokens_details=details
    )


@pytest.mark.parametrize(
    ("count", "cost"),
    [
        (counted(-1, 5), (0.1, 0.1)),
        (counted(50, 5, cached=100), (-0.2, 0.1)),  # more from the cache than there was
        (counted(10, -7, cached=-3), (0.1, 0.1)),
        (counted(10, 7), (float("nan"), 0.1)),
    ],
    ids=["input", "cached", "output", "price"],
)
def test_a_count_that_cannot_be_still_makes_an_event_that_can_be_read(count, cost):
    """Else a run that is taken over would not see the answer, and pay for it again."""
    usage = PriceList().usage(litellm(cost), "some/model", count)
    assert msgspec.json.decode(msgspec.json.encode(usage), type=Usage) == usage
    assert usage.cached <= usage.input


def test_what_is_counted_well_is_told_as_it_is():
    usage = PriceList().usage(litellm((0.1, 0.2)), "some/model", counted(10, 7, cached=4))
    assert (usage.input, usage.output, usage.cached) == (10, 7, 4)
    assert usage.cost_usd == pytest.approx(0.3)
