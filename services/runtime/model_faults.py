"""What goes wrong at a model's provider, as the three failures that matter to a run.

Unavailable  try again, or another model         overloaded, rate limited, unreachable, cut off
Refused      another model may still answer      bad key, unknown model, no quota, bad request
Overflow     shorten the context and try again   the request is larger than the window
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from services.errors import ContextOverflow, ModelRefused, ModelUnavailable, ServiceError

DETAIL_CHARS: Final = 300  # of a provider's own words; enough for the reason, too little for a leak
PATIENCE_S: Final = 3_600.0  # a longer wait that a provider asks for is not believed
OVERFLOW_STATUSES: Final = frozenset({400, 413, 422, 500})  # 500: llama.cpp
TRANSIENT_STATUSES: Final = frozenset({408, 409, 425})  # of those below 500

_OVERFLOW: Final = re.compile(
    r"context[_ ]?(length|window|limit|size)|maximum (prompt|model) length|prompt (is )?too long"
    r"|input (is )?too (long|large)|too many (input )?tokens|input token count"
    r"|reduce the length|request[_ ]too[_ ]large|max_new_tokens",
    re.IGNORECASE,
)
_NO_QUOTA: Final = re.compile(
    r"insufficient[_ ](quota|credits|balance)|credit balance|billing_hard_limit|payment required",
    re.IGNORECASE,
)
_QUOTA_OF_OPENAI: Final = re.compile(r"exceeded your current quota", re.IGNORECASE)
_KEY: Final = re.compile(r"\b(sk|pk|rk|key|AIza|Bearer )[-\w.*]{6,}", re.IGNORECASE)
_LITELLM_WORDS: Final = re.compile(r"^((litellm\.)?\w*(Error|Exception)\w*(:| -) )+")
_MESSAGE: Final = re.compile(r'"message": ?"((?:[^"\\]|\\.)+)"')  # in a body that LiteLLM quotes
_RETRY_DELAY: Final = re.compile(
    r'"retryDelay": ?"(\d{1,5}(?:\.\d{1,9})?)s"'
)  # Gemini's Retry-After


class ProviderFault(Exception):
    """What one exchange with a provider came to, when not to an answer."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        evidence: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        """The HTTP status, None when there was none."""
        self.evidence = evidence
        """What else was said, to recognise the cause by; not for people."""
        self.retry_after_s = retry_after_s
        self.status_code = status or 503  # where LiteLLM looks

    @classmethod
    def of_response(cls, status: int, body: str, headers: Mapping[str, str]) -> "ProviderFault":
        """Return the fault that an HTTP error response states."""
        try:
            document = msgspec.json.decode(body)
        except msgspec.DecodeError:
            document = body
        error = document.get("error", document) if isinstance(document, dict) else document
        return cls.of_error(error, status=status, retry_after_s=retry_after(headers))

    @classmethod
    def of_error(
        cls, error: object, *, status: int | None = None, retry_after_s: float | None = None
    ) -> "ProviderFault":
        """Return the fault that an error object, of a response or inside a stream, states."""
        if not isinstance(error, dict):
            return cls(str(error), status=status, retry_after_s=retry_after_s)
        code = error.get("code")
        if isinstance(code, int):  # OpenRouter and Gemini put the HTTP status there
            status = status or code
        message = str(error.get("message") or error)
        return cls(message, status=status, evidence=str(error), retry_after_s=retry_after_s)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how long a provider asks to be left alone, in seconds, when it says so as a number."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):  # not there, or a date
            continue
        return seconds if 0 <= seconds <= PATIENCE_S else None
    return None


def translate(error: BaseException, model: str, *, secrets: Iterable[str] = ()) -> ServiceError:
    """Return `error` of a call of `model` as one of the three failures of the port.

    Args:
        error: Ours, LiteLLM's or the network's; causes and contexts are looked at too.
        model: `provider/name`.
        secrets: Strings that must not appear in the result, wherever the provider echoes them.
    """
    provider, _, name = model.partition("/")
    missing = next((cause for cause in _causes(error) if isinstance(cause, ImportError)), None)
    if missing is not None:
        return ModelRefused(f"{model} needs a Python package that is not installed: {missing}")
    fault = _fault(error)
    status = fault.status or 0
    said = f" ({status}): " if status else ": "
    said += _clean(fault.message, secrets)
    if status in OVERFLOW_STATUSES and _states(_OVERFLOW, fault):
        return ContextOverflow(f"{model}: the request does not fit into the context window")
    if _without_quota(fault, provider):
        return ModelRefused(f"{provider} has no quota or credit left for this key ({status})")
    if status in {401, 403}:
        return ModelRefused(f"{provider} refuses the key, or what it may use ({status})")
    if status == 404:
        return ModelRefused(f"{provider} knows no model {name!r} at this address ({status})")
    if 400 <= status < 500 and status != 429 and status not in TRANSIENT_STATUSES:
        return ModelRefused(f"{provider} refuses the request{said}")
    limited = status == 429
    return ModelUnavailable(
        f"{provider} limits our rate ({status})" if limited else f"{provider} is unavailable{said}",
        retry_after_s=fault.retry_after_s,
        rate_limited=limited,
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what lies below it."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        original = getattr(seen, "original_exception", None)  # of LiteLLM's mid-stream error
        below = original if isinstance(original, BaseException) else None
        seen = below or seen.__cause__ or seen.__context__


def _fault(error: BaseException) -> ProviderFault:
    """Return the fault at the root of `error`; without one, what LiteLLM makes of it."""
    causes = list(_causes(error))
    faults = (cause for cause in causes if isinstance(cause, ProviderFault))
    originals = (cause for cause in causes if not hasattr(cause, "original_exception"))
    return next(faults, None) or _fault_of_litellm(next(originals, error))


def _fault_of_litellm(error: BaseException) -> ProviderFault:
    status = getattr(error, "status_code", None)
    response = getattr(error, "response", None)
    sources = (
        getattr(error, "litellm_response_headers", None),
        getattr(error, "headers", None),
        getattr(response, "headers", None),
    )
    waits = (retry_after(headers) for headers in sources if headers)
    said = _LITELLM_WORDS.sub("", str(error))
    quoted = _MESSAGE.search(said)
    asked = _RETRY_DELAY.search(said)
    return ProviderFault(
        quoted[1] if quoted else said,
        status=status if isinstance(status, int) else None,
        evidence=said,
        retry_after_s=next(waits, None) or (float(asked[1]) if asked else None),
    )


def _without_quota(fault: ProviderFault, provider: str) -> bool:
    if fault.status == 402 or _states(_NO_QUOTA, fault):
        return True
    # Gemini says the same of its limit per minute.
    return provider != "gemini" and _states(_QUOTA_OF_OPENAI, fault)


def _states(pattern: re.Pattern[str], fault: ProviderFault) -> bool:
    return bool(pattern.search(fault.message) or pattern.search(fault.evidence))


def _clean(said: str, secrets: Iterable[str]) -> str:
    """Return one short line of `said` without keys."""
    for secret in secrets:
        said = said.replace(secret, "***")
    return " ".join(_KEY.sub("***", said).split())[:DETAIL_CHARS]
