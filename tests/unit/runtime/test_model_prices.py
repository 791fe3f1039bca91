"""What a call may cost at most: of the dearest model that may answer it, or nobody knows."""

from types import SimpleNamespace

import pytest

from services.runtime.model_prices import ChainPrices, PriceList


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

    litellm = SimpleNamespace(cost_per_token=cost_per_token)
    assert PriceList().most(litellm, "x/y", 100, 10) == pytest.approx(12.5 + 5.0)


def test_a_model_that_is_not_in_the_list_has_no_price():
    def cost_per_token(**_):
        raise Exception("not mapped")  # noqa: TRY002 - what LiteLLM raises

    litellm = SimpleNamespace(cost_per_token=cost_per_token)
    assert PriceList().most(litellm, "x/y", 100, 10) is None
