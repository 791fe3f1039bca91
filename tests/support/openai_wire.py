"""How OpenAI's chat completions look on the wire."""

import re
from collections.abc import Iterator
from time import monotonic_ns
from typing import Any

import msgspec

from tests.support.scripts import Answer, Fault

Json = dict[str, Any]


def pieces(answer: Answer, body: Json) -> Iterator[bytes]:
    """Yield the stream's content: the role, the text by words, each call's arguments by bits."""
    for delta in _deltas(answer):
        yield _event(body, choices=[{"index": 0, "delta": delta, "finish_reason": None}])


def ending(answer: Answer, body: Json) -> Iterator[bytes]:
    """Yield what makes the stream whole."""
    yield _event(body, choices=[{"index": 0, "delta": {}, "finish_reason": finish(answer)}])
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _event(body, choices=[], usage=usage(answer, body))
    yield b"data: [DONE]\n\n"


def whole(answer: Answer, body: Json) -> Json:
    """Return the answer to a request that does not stream."""
    calls = [
        {"id": call_id(index), "type": "function", "function": {"name": name, "arguments": raw}}
        for index, (name, raw) in enumerate(answer.tool_calls)
    ]
    message: Json = {"role": "assistant", "content": answer.text or None}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": finish(answer)}
    return _frame(body, "chat.completion", choices=[choice], usage=usage(answer, body))


def error(fault: Fault) -> Json:
    """Return the body of an error response."""
    return {"error": {"message": fault.message, "type": "scripted", "code": fault.code}}


def usage(answer: Answer, body: Json) -> Json:
    """Return counted tokens: four characters each."""
    prompt = len(msgspec.json.encode(body["messages"])) // 4
    completion = (len(answer.text) + sum(len(raw) for _, raw in answer.tool_calls)) // 4
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": answer.cached},
    }


def finish(answer: Answer) -> str:
    """Return the finish reason."""
    return answer.finish or ("tool_calls" if answer.tool_calls else "stop")


def call_id(index: int) -> str:
    """Return an id that no other call has."""
    return f"call_{monotonic_ns():x}_{index}"


def _deltas(answer: Answer) -> Iterator[Json]:
    yield {"role": "assistant", "content": ""}
    for word in re.findall(r"\s*\S+|\s+$", answer.text):
        yield {"content": word}
    for index, (name, arguments) in enumerate(answer.tool_calls):
        function = {"name": name, "arguments": ""}
        start = {"index": index, "id": call_id(index), "type": "function", "function": function}
        yield {"tool_calls": [start]}
        for at in range(0, len(arguments), 32):
            bit = {"index": index, "function": {"arguments": arguments[at : at + 32]}}
            yield {"tool_calls": [bit]}


def _event(body: Json, **fields: object) -> bytes:
    return (
        b"data: " + msgspec.json.encode(_frame(body, "chat.completion.chunk", **fields)) + b"\n\n"
    )


def _frame(body: Json, kind: str, **fields: object) -> Json:
    head = {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": body["model"]}
    return {**head, **fields}
