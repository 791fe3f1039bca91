"""How Anthropic's messages look on the wire, streamed."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from tests.support import openai_wire
from tests.support.scripts import Answer, Fault

Json = dict[str, Any]
STOP_REASONS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}


def pieces(answer: Answer, body: Json) -> Iterator[bytes]:
    """Yield the start of the message, then its blocks: the text by words, calls by bits."""
    counted = openai_wire.usage(answer, body)
    start = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": body["model"],
        "usage": {
            "input_tokens": counted["prompt_tokens"] - answer.cached,
            "cache_read_input_tokens": answer.cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": 1,
        },
    }
    yield _event("message_start", message=start)
    index = 0
    if answer.text:
        deltas = [{"type": "text_delta", "text": x} for x in re.findall(r"\s*\S+", answer.text)]
        yield from _block(index, {"type": "text", "text": ""}, deltas)
        index += 1
    for name, raw in answer.tool_calls:
        block = {"type": "tool_use", "id": openai_wire.call_id(index), "name": name, "input": {}}
        bits = [raw[at : at + 32] for at in range(0, len(raw), 32)]
        deltas = [{"type": "input_json_delta", "partial_json": bit} for bit in bits]
        yield from _block(index, block, deltas)
        index += 1


def ending(answer: Answer, body: Json) -> Iterator[bytes]:
    """Yield what makes the message whole."""
    tokens = openai_wire.usage(answer, body)["completion_tokens"]
    reason = STOP_REASONS[openai_wire.finish(answer)]
    yield _event("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": tokens})
    yield _event("message_stop")


def error(fault: Fault) -> Json:
    """Return the body of an error response."""
    return {"type": "error", "error": {"type": fault.code or "api_error", "message": fault.message}}


def _block(index: int, block: Json, deltas: list[Json]) -> Iterator[bytes]:
    yield _event("content_block_start", index=index, content_block=block)
    for delta in deltas:
        yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _event(name: str, **fields: object) -> bytes:
    data = msgspec.json.encode({"type": name, **fields})
    return f"event: {name}\n".encode() + b"data: " + data + b"\n\n"
