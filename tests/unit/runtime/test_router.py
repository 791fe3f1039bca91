"""A request is answered by the first model that can, without hurry and without doubling."""

from collections.abc import Callable

import pytest

from services.errors import ContextOverflow, ModelRefused, ModelUnavailable, ServiceError
from services.runtime.model import Delta, Message, ModelAnswer, ModelRequest, OnDelta
from services.runtime.offline import OfflineModel
from services.runtime.router import ProcessCooldowns, RetryPolicy, Router

FIRST, SECOND, THIRD = "a/first", "b/second", "c/third"
DOWN = ModelUnavailable("down")
LIMITED = ModelUnavailable("slow down", rate_limited=True)


class StillClock:
    """Time passes only by sleeping."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.at = 1_000.0

    def now(self) -> int:
        return int(self.at * 1_000_000)

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


class Scripted:
    """A model that fails as told, then answers."""

    def __init__(self, **failures: list[ServiceError]) -> None:
        self.failures = failures
        self.asked: list[str] = []

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelAnswer:
        self.asked.append(request.model)
        if on_delta is not None:
            on_delta(Delta(text=f"{request.model} says"))
        left = self.failures.get(request.model.partition("/")[0], [])
        if left:
            raise left.pop(0)
        answer = await OfflineModel().complete(request)
        return ModelAnswer(
            model=request.model,
            text="hello",
            tool_calls=(),
            usage=answer.usage,
            finish="stop",
            latency_ms=0,
        )


def request(model: str = FIRST) -> ModelRequest:
    return ModelRequest(model=model, messages=(Message(role="user", content="hello"),))


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def route(clock) -> Callable[..., Router]:
    cooldowns = ProcessCooldowns(clock)

    def build(model: Scripted, *fallbacks: str, jitter: float = 1.0) -> Router:
        return Router(
            model,
            OfflineModel(),
            policy=RetryPolicy(fallbacks=fallbacks),
            clock=clock,
            cooldowns=cooldowns,
            jitter=lambda: jitter,
        )

    return build


async def test_asks_the_model_that_is_asked_for(route):
    model = Scripted()
    assert (await route(model, SECOND).complete(request())).model == FIRST
    assert model.asked == [FIRST]


async def test_tries_three_times_with_growing_pauses(route, clock):
    model = Scripted(a=[DOWN, DOWN])
    assert (await route(model).complete(request())).model == FIRST
    assert (len(model.asked), clock.slept) == (3, [0.5, 1.0])


async def test_spreads_the_pauses(route, clock):
    await route(Scripted(a=[DOWN]), jitter=1.2).complete(request())
    assert clock.slept == [0.6]


async def test_gives_up_after_three_attempts(route):
    model = Scripted(a=[DOWN] * 3)
    with pytest.raises(ModelUnavailable, match="down"):
        await route(model).complete(request())
    assert len(model.asked) == 3


async def test_falls_back_in_order_and_names_who_answered(route):
    model = Scripted(a=[DOWN] * 3, b=[DOWN] * 3)
    answer = await route(model, SECOND, THIRD).complete(request())
    assert answer.model == THIRD
    assert model.asked == [FIRST] * 3 + [SECOND] * 3 + [THIRD]


async def test_tries_no_more_than_three_fallbacks(route):
    names = ["b/1", "c/1", "d/1", "e/1"]
    model = Scripted(**{name[0]: [DOWN] * 3 for name in [FIRST, *names]})
    with pytest.raises(ModelUnavailable):
        await route(model, *names).complete(request())
    assert "e/1" not in model.asked


async def test_a_model_is_not_its_own_fallback(route):
    model = Scripted(a=[DOWN] * 3)
    with pytest.raises(ModelUnavailable):
        await route(model, FIRST).complete(request())
    assert len(model.asked) == 3


async def test_a_refusal_is_not_repeated_but_another_model_is_asked(route, clock):
    model = Scripted(a=[ModelRefused("bad key")])
    assert (await route(model, SECOND).complete(request())).model == SECOND
    assert (model.asked, clock.slept) == ([FIRST, SECOND], [])


async def test_an_overflow_goes_back_to_the_caller_at_once(route):
    model = Scripted(a=[ContextOverflow("too long")])
    with pytest.raises(ContextOverflow):
        await route(model, SECOND).complete(request())
    assert model.asked == [FIRST]


async def test_says_what_every_model_said(route):
    model = Scripted(a=[ModelRefused("bad key")], b=[DOWN] * 3)
    with pytest.raises(ModelUnavailable, match="bad key; then down"):
        await route(model, SECOND).complete(request())


async def test_is_refused_only_when_all_refuse(route):
    model = Scripted(a=[ModelRefused("bad key")], b=[ModelRefused("no quota")])
    with pytest.raises(ModelRefused, match="bad key; then no quota"):
        await route(model, SECOND).complete(request())


async def test_waits_as_long_as_the_provider_asks(route, clock):
    limited = ModelUnavailable("slow down", rate_limited=True, retry_after_s=4)
    await route(Scripted(a=[limited])).complete(request())
    assert clock.slept == [4]


async def test_does_not_wait_for_a_provider_that_asks_for_too_much(route, clock):
    limited = ModelUnavailable("slow down", rate_limited=True, retry_after_s=31)
    with pytest.raises(ModelUnavailable) as failure:
        await route(Scripted(a=[limited])).complete(request())
    assert clock.slept == []
    assert (failure.value.retry_after_s, failure.value.rate_limited) == (31, True)


async def test_a_rate_limited_model_rests_while_a_fallback_answers(route, clock):
    model = Scripted(a=[LIMITED])
    router = route(model, SECOND)
    for _ in range(2):
        assert (await router.complete(request())).model == SECOND
    assert model.asked == [FIRST, SECOND, SECOND]
    clock.at += 60
    assert (await router.complete(request())).model == FIRST


async def test_a_rest_is_as_long_as_the_provider_asks(route, clock):
    limited = ModelUnavailable("slow down", rate_limited=True, retry_after_s=120)
    router = route(Scripted(a=[limited]), SECOND)
    await router.complete(request())
    clock.at += 61
    assert (await router.complete(request())).model == SECOND


async def test_a_resting_model_is_asked_where_there_is_no_other(route):
    model = Scripted(a=[LIMITED] * 3)
    router = route(model)
    with pytest.raises(ModelUnavailable):
        await router.complete(request())
    assert (await router.complete(request())).model == FIRST


async def test_the_built_in_rules_can_be_the_last_resort(route):
    model = Scripted(a=[DOWN] * 3)
    answer = await route(model, "offline/rules").complete(request())
    assert answer.model == "offline/rules"
    assert "offline model" in answer.text


async def test_offline_models_never_reach_a_provider(route):
    model = Scripted()
    await route(model).complete(request("offline/rules"))
    assert model.asked == []


async def test_takes_back_what_a_failed_attempt_has_shown(route):
    deltas: list[Delta] = []
    await route(Scripted(a=[DOWN] * 3), SECOND).complete(request(), deltas.append)
    assert [delta.text or "reset" for delta in deltas] == ["a/first says", "reset"] * 3 + [
        "b/second says"
    ]
    assert [delta.reset for delta in deltas] == [False, True] * 3 + [False]


async def test_takes_back_what_was_shown_when_nobody_answers(route):
    deltas: list[Delta] = []
    with pytest.raises(ModelUnavailable):
        await route(Scripted(a=[DOWN] * 3)).complete(request(), deltas.append)
    assert deltas[-1].reset


async def test_takes_nothing_back_that_was_not_shown(route):
    class Silent(Scripted):
        async def complete(self, request, on_delta=None):
            return await super().complete(request)

    deltas: list[Delta] = []
    await route(Silent(a=[DOWN])).complete(request(), deltas.append)
    assert deltas == []
