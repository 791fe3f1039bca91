"""Models behind LiteLLM's real HTTP path, against a server of ours that misbehaves on request."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from services.errors import ContextOverflow, ModelRefused, ModelUnavailable
from services.runtime.clock import SystemClock
from services.runtime.litellm_model import LiteLLMModel
from services.runtime.model import Delta, Message, ModelRequest, ToolSpec
from services.runtime.model_access import Access
from services.runtime.offline import OfflineModel
from services.runtime.router import ProcessCooldowns, RetryPolicy, Router
from services.runtime.secret import Secret
from tests.contracts.model import ModelContract
from tests.support import scripts
from tests.support.openai_server import OpenAIServer, rules
from tests.support.scripts import Answer, Fault

pytestmark = pytest.mark.integration

OPENAI = "openai/scripted"  # over our own lean client
ANTHROPIC = "anthropic/claude-sonnet-4-5"  # over LiteLLM's own clients
OPENROUTER = "openrouter/anthropic/claude-sonnet-5.5"
GEMINI = "gemini/gemini-3.8-flash"
KEY = "sk-test-0123456789abcdef"
REPLY = ToolSpec(
    name="reply",
    description="Answer.",
    parameters={"type": "object", "properties": {"text": {"type": "string"}}},
)
HELLO = Answer(text="Hello there, friend.", tool_calls=(("reply", '{"text": "Hello, Ana!"}'),))


def request(model: str = OPENAI, text: str = "hello") -> ModelRequest:
    messages = (
        Message(role="system", content="You are Penstock."),
        Message(role="user", content=text),
    )
    return ModelRequest(model=model, messages=messages, tools=(REPLY,))


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer(lambda _: HELLO) as server:
        yield server


def access(server: OpenAIServer, *, silence_s: float = 10.0) -> Access:
    return Access(
        keys={name: Secret(KEY) for name in ("openai", "anthropic", "openrouter", "gemini")},
        bases={
            "openai": server.url,
            "openrouter": server.url,
            "anthropic": server.origin,
            "gemini": server.origin,
            "ollama": server.origin,
        },
        total_s=20.0,
        silence_s=silence_s,
    )


@pytest.fixture
async def model(server) -> AsyncIterator[LiteLLMModel]:
    model = LiteLLMModel(access(server))
    yield model
    await model.aclose()


@pytest.fixture
async def impatient(server) -> AsyncIterator[LiteLLMModel]:
    model = LiteLLMModel(access(server, silence_s=0.5))
    await model.warm()
    yield model
    await model.aclose()


class TestOverOpenAI(ModelContract):
    @pytest.fixture
    def request_(self):
        return request(OPENAI)


class TestOverAnthropic(ModelContract):
    @pytest.fixture
    def request_(self):
        return request(ANTHROPIC)


class TestOverResponses(ModelContract):
    """OpenAI's own newer models, whose route LiteLLM chooses."""

    @pytest.fixture
    def request_(self):
        pytest.importorskip("mcp", reason="LiteLLM's Responses route imports it")
        return request("openai/responses/gpt-6.1-sol")


class TestOverOpenRouter(ModelContract):
    @pytest.fixture
    def request_(self):
        return request(OPENROUTER)


class TestOverGemini(ModelContract):
    @pytest.fixture
    def request_(self):
        return request(GEMINI)


each = pytest.mark.parametrize("name", [OPENAI, ANTHROPIC, OPENROUTER, GEMINI])


@each
async def test_streams_text_and_calls(model, name):
    deltas: list[Delta] = []
    answer = await model.complete(request(name), deltas.append)
    assert answer.text == "Hello there, friend."
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [
        ("reply", '{"text": "Hello, Ana!"}')
    ]
    assert answer.finish == "tool_calls"
    assert [delta.text for delta in deltas[:3]] == ["Hello", " there,", " friend."]
    assert {delta.tool for delta in deltas[3:]} == {"reply"}


async def test_sends_what_was_asked_and_nothing_of_its_own(server, model):
    await model.complete(request())
    (call,) = server.calls
    assert call.body == {
        "model": "scripted",
        "messages": [
            {"role": "system", "content": "You are Penstock."},
            {"role": "user", "content": "hello"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "reply",
                    "description": "Answer.",
                    "parameters": REPLY.parameters,
                },
            }
        ],
        "max_tokens": 8_192,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert call.headers["authorization"] == f"Bearer {KEY}"


async def test_anthropic_gets_marks_for_its_prompt_cache(server, model):
    await model.complete(request(ANTHROPIC))
    body = server.calls[0].body
    mark = {"type": "ephemeral"}
    assert body["system"][0]["cache_control"] == mark
    assert body["tools"][0]["cache_control"] == mark
    assert body["messages"][0]["content"][0]["cache_control"] == mark
    assert server.calls[0].headers["x-api-key"] == KEY


@each
async def test_counts_tokens_and_knows_the_price(server, model, name):
    server.will(msgspec.structs.replace(HELLO, cached=5))
    answer = await model.complete(request(name))
    assert answer.usage.input > 5
    assert answer.usage.output > 0
    assert answer.usage.cached == 5
    assert (answer.usage.cost_usd is None) == (name == OPENAI)


async def test_a_price_is_known_by_the_models_name(model):
    answer = await model.complete(request("openai/gpt-4o"))
    assert answer.usage.cost_usd == pytest.approx(
        answer.usage.input * 2.5e-6 + answer.usage.output * 1e-5
    )


async def test_what_a_call_may_cost_at_most_is_known_before_it_is_made(model):
    most = await model.most_usd("openai/gpt-4o", 1_000, 100)
    assert most == pytest.approx(1_000 * 2.5e-6 + 100 * 1e-5)
    dear = await model.most_usd("anthropic/claude-sonnet-4-5", 1_000, 100)
    assert dear == pytest.approx(1_000 * 3.75e-6 + 100 * 1.5e-5), "the price of filling a cache"
    assert await model.most_usd("openai/nobody-knows", 1_000, 100) is None


async def test_ollama_is_asked_without_a_key_and_costs_nothing(server, model):
    answer = await model.complete(request("ollama/qwen3:8b"))
    assert (answer.model, answer.usage.cost_usd) == ("ollama/qwen3:8b", 0.0)
    assert server.calls[0].body["model"] == "qwen3:8b"


async def test_malformed_arguments_come_through_as_written(server, model):
    server.will(Answer(tool_calls=(("reply", '{"text": "x",,}'),)))
    (call,) = (await model.complete(request())).tool_calls
    assert call.arguments == '{"text": "x",,}'


@each
async def test_connections_are_used_again(server, model, name):
    for _ in range(3):
        await model.complete(request(name))
    assert len({call.connection for call in server.calls}) == 1


@each
@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (scripts.RATE_LIMITED, ModelUnavailable),
        (scripts.SERVER_ERROR, ModelUnavailable),
        (scripts.OVERLOADED, ModelUnavailable),
        (Fault(status=408), ModelUnavailable),
        (scripts.EMPTY, ModelUnavailable),
        (Answer(text="a b c d e f", cut_after=3), ModelUnavailable),
        (Answer(text="a b c d e f", stop_after=3), ModelUnavailable),
        (Answer(text="a b c d e f", hang_after=3), ModelUnavailable),
        (Answer(text="a", first_after_s=5.0), ModelUnavailable),
        (scripts.OVERFLOW, ContextOverflow),
        (Fault(status=401, message=f"bad key {KEY}"), ModelRefused),
        (Fault(status=403), ModelRefused),
        (scripts.UNKNOWN_MODEL, ModelRefused),
        (Fault(status=402), ModelRefused),
        (Fault(status=400, message=f"bad field {KEY}"), ModelRefused),
    ],
    ids=lambda value: "" if isinstance(value, type) else str(value)[:60],
)
async def test_every_fault_has_its_failure_and_no_key_in_it(
    server, model, impatient, name, fault, failure
):
    await model.complete(request(name))  # what LiteLLM first loads for a provider takes its time
    server.calls.clear()
    server.will(fault)
    with pytest.raises(failure) as raised:
        await impatient.complete(request(name))
    assert len(server.calls) == 1
    assert KEY not in str(raised.value)
    assert name.partition("/")[0] in str(raised.value)


async def test_a_quota_that_is_used_up_is_not_a_rate_limit(server, model):
    server.will(scripts.NO_QUOTA)
    with pytest.raises(ModelRefused, match="no quota or credit"):
        await model.complete(request())


@each
async def test_a_rate_limit_says_how_long_to_wait(server, model, name):
    server.will(Fault(status=429, message="slow down", retry_after="7"))
    with pytest.raises(ModelUnavailable) as raised:
        await model.complete(request(name))
    assert (raised.value.retry_after_s, raised.value.rate_limited) == (7.0, True)


async def test_an_error_inside_the_stream_is_a_failure(server, model):
    class Wire:
        """A server that finds out late, as gateways do."""

        @staticmethod
        def pieces(answer, body):
            yield b': PROCESSING\n\ndata: {"choices": [{"delta": {"content": "a"}}]}\n\n'
            yield b'data: {"error": {"code": 429, "message": "slow down"}}\n\n'

        @staticmethod
        def ending(answer, body):
            return ()

    server.wires["/v1/chat/completions"] = Wire
    with pytest.raises(ModelUnavailable) as raised:
        await model.complete(request())
    assert raised.value.rate_limited


async def test_a_steady_stream_may_take_longer_than_one_silence(server, impatient):
    server.will(Answer(text="one two three four five six", between_s=0.15))
    assert (await impatient.complete(request())).text == "one two three four five six"


async def test_the_whole_call_has_a_limit_too(server):
    model = LiteLLMModel(Access(bases={"openai": server.url}, total_s=0.4))
    await model.warm()
    server.will(Answer(text="word " * 50, between_s=0.1))
    with pytest.raises(ModelUnavailable, match="in time"):
        await model.complete(request())
    await model.aclose()


async def test_a_server_that_is_not_there_is_unavailable():
    model = LiteLLMModel(Access(bases={"openai": "http://127.0.0.1:9/v1"}))
    with pytest.raises(ModelUnavailable, match="openai is unavailable: not reachable"):
        await model.complete(request())
    await model.aclose()


async def test_a_filtered_answer_is_refused(server, model):
    server.will(Answer(finish="content_filter"))
    with pytest.raises(ModelRefused, match="filter"):
        await model.complete(request())


async def test_without_a_key_nothing_is_sent(server):
    model = LiteLLMModel(Access(bases={"anthropic": server.origin}))
    with pytest.raises(ModelRefused, match="set ANTHROPIC_API_KEY"):
        await model.complete(request(ANTHROPIC))
    assert server.calls == []


async def test_a_server_of_ones_own_never_sees_a_key_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    model = LiteLLMModel(Access(bases={"openai": server.url}))
    await model.complete(request())
    assert server.calls[0].headers["authorization"] == "Bearer none"
    await model.aclose()


@each
async def test_a_cancelled_call_lets_go_of_its_connection(server, model, name):
    server.will(Answer(text="never", first_after_s=60.0))
    call = asyncio.create_task(model.complete(request(name)))
    await asyncio.wait_for(server.called(1), 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(server.abandoned(1), 10)


@each
async def test_a_call_cancelled_while_it_is_prepared_leaves_nothing_behind(model, name):
    await model.warm()
    for _ in range(20):
        call = asyncio.create_task(model.complete(request(name)))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    await model.aclose()
    assert not [task for task in asyncio.all_tasks() if "acompletion" in repr(task)]


@each
async def test_nothing_of_a_prompt_is_logged_or_printed(server, model, name, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    server.will(scripts.SERVER_ERROR)
    with pytest.raises(ModelUnavailable):
        await model.complete(request(name, text="a secret plan"))
    await model.complete(request(name, text="a secret plan"))
    assert "secret plan" not in caplog.text
    assert capfd.readouterr() == ("", "")


@each
async def test_closing_one_model_leaves_the_next_one_working(server, name):
    for _ in range(2):
        model = LiteLLMModel(access(server))
        assert (await model.complete(request(name))).text == HELLO.text
        await model.aclose()


async def test_fifty_calls_at_once_each_get_their_own_answer(server, model):
    server.brain = lambda body: Answer(text=f"for {body['messages'][-1]['content']}")
    answers = await asyncio.gather(*(model.complete(request(text=f"n{at}")) for at in range(50)))
    assert [answer.text for answer in answers] == [f"for n{at}" for at in range(50)]


async def test_with_a_router_a_cut_stream_is_asked_again_and_paid_once(server, model):
    server.will(Answer(text="half an", cut_after=2), scripts.SERVER_ERROR)
    router = Router(
        model,
        OfflineModel(),
        policy=RetryPolicy(backoff_ms=1),
        clock=SystemClock(),
        cooldowns=ProcessCooldowns(SystemClock()),
    )
    deltas: list[Delta] = []
    answer = await router.complete(request(text="hello key=k1"), deltas.append)
    assert answer.text == HELLO.text
    assert [delta.reset for delta in deltas].count(True) == 1
    assert (len(server.calls), server.counts["k1"]) == (3, 1)


async def test_the_rules_can_be_asked_over_http(server, model):
    server.brain = rules
    (call,) = (await model.complete(request(text="[ana] hello"))).tool_calls
    assert call.name == "reply"
    assert "offline model" in call.arguments


def test_litellm_is_imported_late_and_reads_no_env_file(tmp_path):
    (tmp_path / ".env").write_text("LEAKED_BY_ENV_FILE=1\n")
    program = """
import os, sys
import services.runtime.litellm_model, services.runtime.router, services.runtime.model_choice
assert not {"litellm", "openai", "aiohttp", "httpx"} & set(sys.modules), "imported too early"
from services.runtime import litellm_import
litellm = litellm_import.load()
assert "LEAKED_BY_ENV_FILE" not in os.environ
assert litellm.telemetry is False
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
