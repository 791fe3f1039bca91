"""A request as LiteLLM takes it: chat-completions messages, tools, and marks for prompt caches."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from schemas.run import ToolCall
from services.runtime.model import Message, ModelRequest, ToolSpec
from services.runtime.repair import MalformedArguments, clean, loads

VOLATILE: Final = "[status]"  # begins the note that changes with every request
EMPTY: Final = "(empty)"  # Anthropic refuses blank texts
COMBINATORS: Final = frozenset({"oneOf", "anyOf", "allOf", "enum", "const", "not"})
MARK: Final = {"type": "ephemeral"}

Json = dict[str, Any]


def arguments(request: ModelRequest, *, raw_tools: bool = False) -> Json:
    """Return the keyword arguments of `litellm.acompletion` that say what is asked.

    Args:
        request: What is asked.
        raw_tools: Give the schemas of tools as the bytes that our own client sends. LiteLLM would
            walk through all of them in every call, to look for patterns that OpenAI refuses.
    """
    messages = [_message(message) for message in request.messages]
    tools = [_tool(tool, raw=raw_tools) for tool in request.tools]
    if request.model.startswith("anthropic/"):
        _mark(messages, tools)
    elif request.model.startswith("openrouter/anthropic/"):
        _mark(messages[:1], ())
    result: Json = {
        "model": request.model,
        "messages": messages,
        "max_tokens": request.max_output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return result | {"tools": tools} if tools else result


def _message(message: Message) -> Json:
    text = clean(message.content)
    if message.role == "assistant":
        calls = [_call(call) for call in message.tool_calls]
        # Without a text there must be a call; a blank text beside a call is left out.
        content = text if text.strip() else None if calls else EMPTY
        return {"role": "assistant", "content": content} | ({"tool_calls": calls} if calls else {})
    result: Json = {"role": message.role, "content": text if text.strip() else EMPTY}
    if message.tool_call_id is not None:
        result["tool_call_id"] = message.tool_call_id
    return result


def _call(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": _valid(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _valid(raw: str) -> str:
    """Return `raw`, or valid JSON in its place: providers refuse to be shown their own mistakes."""
    try:
        if isinstance(msgspec.json.decode(raw), dict):
            return raw
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        pass
    try:
        return msgspec.json.encode(loads(raw)).decode()
    except MalformedArguments:
        return msgspec.json.encode({"malformed": clean(raw)}).decode()


def _tool(tool: ToolSpec, *, raw: bool) -> Json:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": _raw(tool.parameters) if raw else tool.parameters,
    }
    return {"type": "function", "function": function}


def _raw(schema: Json) -> Json | msgspec.Raw:
    """Return a schema as bytes, unless it has something in it that LiteLLM mends for OpenAI."""
    encoded = msgspec.json.encode(schema)
    is_plain = b'"pattern' not in encoded and not schema.keys() & COMBINATORS
    return msgspec.Raw(encoded) if is_plain else schema


def _mark(messages: list[Json], tools: Sequence[Json]) -> None:
    """Mark where Anthropic's prompt cache shall end: tools, system prompt, settled messages."""
    if tools:
        tools[-1]["cache_control"] = MARK
    if messages and messages[0]["role"] == "system":
        _mark_text(messages[0])
    settled = [
        message
        for message in messages[1:]
        if message["content"] and not str(message["content"]).startswith(VOLATILE)
    ]
    if settled:
        _mark_text(settled[-1])


def _mark_text(message: Json) -> None:
    if message["role"] == "tool":
        message["cache_control"] = MARK
    else:
        message["content"] = [{"type": "text", "text": message["content"], "cache_control": MARK}]
