"""What a call has cost, as far as an event can hold it, and what one may cost at most."""

from types import ModuleType, SimpleNamespace

import msgspec
import pytest

from schemas.run import Usage
from services.runtime.model_prices import ChainPrices, PriceList


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


def prices(*fallbacks, **known):
    async def price(model, input_tokens, output_tokens):
        each = known.get(model.partition("/")[2])
        return None if each is None else each * (input_tokens + output_tokens)

    return ChainPrices(price, fallbacks)


@pytest.mark.parametrize("model", ["ollama/qwen3:8b", "offline/rules"])
async def test_what_runs_on_ones_own_machine_is_free_and_nobody_is_asked(model):
    assert await prices().most(model, 10, 10) == 0.0


async def test_the_dearest_of_the_chain_counts():
    assert await prices("x/dear", "x/cheap", dear=0.2, cheap=0.1, own=0.15).most(
        "x/own", 5, 5
    ) == pytest.approx(2.0)


async def test_one_unknown_price_in_the_chain_makes_it_unknown():
    assert await prices("x/unknown", own=0.1).most("x/own", 5, 5) is None


def test_a_prompt_that_is_put_into_a_cache_may_cost_more_than_one_that_is_read():
    def cost_per_token(*, prompt_tokens, completion_tokens, cache_creation_input_tokens, **_):
        read = prompt_tokens - cache_creation_input_tokens
        return read * 0.1 + cache_creation_input_tokens * 0.125, completion_tokens * 0.5

    listed = SimpleNamespace(cost_per_token=cost_per_token)
    assert PriceList().most(listed, "x/y", 100, 10) == pytest.approx(12.5 + 5.0)


def test_a_model_that_is_not_in_the_list_has_no_price():
    def cost_per_token(**_):
        raise Exception("not mapped")  # noqa: TRY002 - what LiteLLM raises

    listed = SimpleNamespace(cost_per_token=cost_per_token)
    assert PriceList().most(listed, "x/y", 100, 10) is None
