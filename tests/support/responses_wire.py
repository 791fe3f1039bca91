"""How OpenAI's Responses look on the wire, streamed; newer models call tools only there."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from tests.support import openai_wire
from tests.support.scripts import Answer, Fault

Json = dict[str, Any]


def pieces(answer: Answer, body: Json) -> Iterator[bytes]:
    """Yield the start of the response, then its items: the text by words, calls by bits."""
    yield _event("response.created", response=_response(body, "in_progress"))
    if answer.text:
        item = {"id": "msg_0", "type": "message", "role": "assistant", "content": []}
        yield _event("response.output_item.added", output_index=0, item=item)
        for word in re.findall(r"\s*\S+", answer.text):
            where = {"item_id": "msg_0", "output_index": 0, "content_index": 0}
            yield _event("response.output_text.delta", delta=word, **where)
    for item in _calls(answer):
        where = {"item_id": item["id"], "output_index": item["at"]}
        yield _event(
            "response.output_item.added", output_index=item["at"], item={**item, "arguments": ""}
        )
        raw = item["arguments"]
        for at in range(0, len(raw), 32):
            bit = raw[at : at + 32]
            yield _event("response.function_call_arguments.delta", delta=bit, **where)
        yield _event("response.function_call_arguments.done", arguments=raw, **where)
        yield _event("response.output_item.done", output_index=item["at"], item=item)


def ending(answer: Answer, body: Json) -> Iterator[bytes]:
    """Yield what makes the response whole."""
    counted = openai_wire.usage(answer, {"messages": body["input"]})
    usage = {
        "input_tokens": counted["prompt_tokens"],
        "output_tokens": counted["completion_tokens"],
        "total_tokens": counted["total_tokens"],
        "input_tokens_details": {"cached_tokens": answer.cached},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    response = {**_response(body, "completed"), "output": _calls(answer), "usage": usage}
    yield _event("response.completed", response=response)


def error(fault: Fault) -> Json:
    """Return the body of an error response."""
    return openai_wire.error(fault)


def _calls(answer: Answer) -> list[Json]:
    return [
        {
            "id": f"fc_{at}",
            "at": at,
            "type": "function_call",
            "call_id": f"call_{at}",
            "name": name,
            "arguments": raw,
            "status": "completed",
        }
        for at, (name, raw) in enumerate(answer.tool_calls, start=1)
    ]


def _response(body: Json, status: str) -> Json:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "model": body["model"],
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
    }


def _event(name: str, **fields: object) -> bytes:
    data = msgspec.json.encode({"type": name, "sequence_number": 0, **fields})
    return f"event: {name}\n".encode() + b"data: " + data + b"\n\n"
