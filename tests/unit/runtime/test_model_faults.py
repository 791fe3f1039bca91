"""Whatever a provider says, a run learns one of three things, and never a key."""

import pytest

from services.errors import ContextOverflow, ModelRefused, ModelUnavailable
from services.runtime.model_faults import ProviderFault, retry_after, translate

KEY = "sk-proj-abcdef123456"


def fault(status: int | None, message: str, code: str = "", **headers: str) -> ProviderFault:
    body = {"message": message, "code": code}
    return ProviderFault.of_error(body, status=status, retry_after_s=retry_after(headers))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This model's maximum context length is 8192 tokens. However, you requested 9001."),
        (400, "Your input exceeds the context window of this model."),
        (400, "prompt is too long: 208310 tokens > 200000 maximum"),
        (400, "input length and `max_tokens` exceed context limit: 199926 + 8192 > 200000"),
        (413, "request_too_large: Request exceeds the maximum size"),
        (400, "The input token count (1200000) exceeds the maximum number of tokens allowed"),
        (400, "This model's maximum prompt length is 131072 but the request contains 140000"),
        (400, "the request exceeds the available context size"),
        (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097"),
        (400, "Please reduce the length of the messages or completion."),
        (400, "Input is too long for requested model."),
        (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081"),
        (500, "context length exceeded"),
    ],
)
def test_an_overflow_is_recognised_in_the_words_of_many_providers(status, message):
    assert isinstance(translate(fault(status, message), "x/y"), ContextOverflow)


@pytest.mark.parametrize("status", [500, 502, 503, 529, 408, 409, None])
def test_a_provider_in_trouble_is_unavailable(status):
    failure = translate(fault(status, "oops"), "openai/x")
    assert isinstance(failure, ModelUnavailable)
    assert not failure.rate_limited


def test_a_rate_limit_says_how_long_to_wait():
    failure = translate(fault(429, "slow down", **{"retry-after": "7"}), "openai/x")
    assert isinstance(failure, ModelUnavailable)
    assert (failure.rate_limited, failure.retry_after_s) == (True, 7.0)


def test_a_rate_limit_on_tokens_is_no_overflow():
    said = "Rate limit reached: Request too large on tokens per min (TPM)"
    assert isinstance(translate(fault(429, said), "openai/x"), ModelUnavailable)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (fault(401, f"Incorrect API key provided: {KEY}"), "openai refuses the key"),
        (fault(403, "not allowed"), "openai refuses the key"),
        (fault(404, "no such model"), "openai knows no model 'x'"),
        (fault(429, "no", "insufficient_quota"), "no quota or credit"),
        (fault(429, "You exceeded your current quota."), "no quota or credit"),
        (fault(402, "pay first"), "no quota or credit"),
        (fault(400, "Your credit balance is too low"), "no quota or credit"),
        (fault(400, "tools[0] is invalid"), "refuses the request (400): tools[0] is invalid"),
    ],
)
def test_what_asking_again_cannot_help_is_refused_by_name(error, words):
    failure = translate(error, "openai/x", secrets=(KEY,))
    assert isinstance(failure, ModelRefused)
    assert words in str(failure)


def test_gemini_calls_its_rate_limit_a_quota():
    failure = translate(fault(429, "You exceeded your current quota."), "gemini/x")
    assert isinstance(failure, ModelUnavailable)


@pytest.mark.parametrize(
    "echo", [KEY, "sk-ant-somebodyelses1", "AIzaSyD-1234567", "Bearer abcdefgh"]
)
def test_no_key_is_repeated(echo):
    failure = translate(fault(400, f"bad header {echo} in request"), "openai/x", secrets=(KEY,))
    assert echo not in str(failure)
    assert "***" in str(failure)


def test_a_providers_words_are_kept_short():
    assert len(str(translate(fault(400, "x " * 5_000), "openai/x"))) < 400


def test_the_cause_below_another_error_counts():
    wrapped = RuntimeError("what a library made of it")
    wrapped.__context__ = fault(401, "no")
    assert isinstance(translate(wrapped, "openai/x"), ModelRefused)


def test_gemini_says_in_its_body_how_long_to_wait():
    error = RuntimeError('VertexAIException - b\'{"error": {"retryDelay": "34s"}}\'')
    error.status_code = 429
    assert translate(error, "gemini/x").retry_after_s == 34.0


def test_a_missing_package_is_named():
    wrapped = RuntimeError("no")
    wrapped.__cause__ = ModuleNotFoundError("No module named 'mcp'")
    failure = translate(wrapped, "openai/x")
    assert isinstance(failure, ModelRefused)
    assert "'mcp'" in str(failure)


def test_an_unknown_error_is_unavailable():
    assert isinstance(translate(KeyError("choices"), "openai/x"), ModelUnavailable)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_reads_how_long_to_wait(headers, seconds):
    assert retry_after(headers) == seconds
