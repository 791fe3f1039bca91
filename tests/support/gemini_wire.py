"""How Gemini's answers look on the wire, streamed."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from tests.support import openai_wire
from tests.support.scripts import Answer, Fault

Json = dict[str, Any]
STATUSES = {429: "RESOURCE_EXHAUSTED", 404: "NOT_FOUND", 400: "INVALID_ARGUMENT"}


def pieces(answer: Answer, body: Json) -> Iterator[bytes]:
    """Yield the text by words, then each call whole, as Gemini sends them."""
    for word in re.findall(r"\s*\S+", answer.text):
        yield _event(answer, body, parts=[{"text": word}])
    for name, raw in answer.tool_calls:
        call = {"name": name, "args": msgspec.json.decode(raw)}
        yield _event(answer, body, parts=[{"functionCall": call}])


def ending(answer: Answer, body: Json) -> Iterator[bytes]:
    """Yield what makes the answer whole."""
    reason = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}.get(answer.finish or "", "STOP")
    yield _event(answer, body, parts=[{"text": ""}], finish=reason)


def error(fault: Fault) -> Json:
    """Return the body of an error response."""
    status = STATUSES.get(fault.status, "INTERNAL")
    return {"error": {"code": fault.status, "message": fault.message, "status": status}}


def _event(answer: Answer, body: Json, *, parts: list[Json], finish: str | None = None) -> bytes:
    counted = openai_wire.usage(answer, {"messages": body["contents"]})
    candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    usage = {
        "promptTokenCount": counted["prompt_tokens"],
        "candidatesTokenCount": counted["completion_tokens"],
        "totalTokenCount": counted["total_tokens"],
        "cachedContentTokenCount": answer.cached,
    }
    return (
        b"data: "
        + msgspec.json.encode({"candidates": [candidate], "usageMetadata": usage})
        + b"\r\n\r\n"
    )
