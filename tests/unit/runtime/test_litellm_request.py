"""A request becomes chat-completions messages that every provider accepts."""

import msgspec
import pytest

from schemas.run import ToolCall
from services.runtime.litellm_request import arguments
from services.runtime.model import Message, ModelRequest, ToolSpec

REPLY = ToolSpec(name="reply", description="Answer.", parameters={"type": "object"})
SKIP = ToolSpec(name="skip", description="Stay silent.", parameters={"type": "object"})
CALL = ToolCall(id="c1", name="reply", arguments='{"text":"hi"}')


def request(*messages: Message, model: str = "openai/x", tools=(REPLY, SKIP)) -> ModelRequest:
    return ModelRequest(model=model, messages=messages, tools=tools)


SYSTEM = Message(role="system", content="You are.")
HELLO = Message(role="user", content="hello")
NOTE = Message(role="user", content="[status] nothing runs")


def test_maps_every_role():
    sent = arguments(
        request(
            SYSTEM,
            HELLO,
            Message(role="assistant", tool_calls=(CALL,)),
            Message(role="tool", tool_call_id="c1", content="sent"),
        )
    )
    assert sent["messages"] == [
        {"role": "system", "content": "You are."},
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "reply", "arguments": '{"text":"hi"}'},
                }
            ],
        },
        {"role": "tool", "content": "sent", "tool_call_id": "c1"},
    ]


def test_asks_for_a_stream_with_usage_and_a_limit():
    sent = arguments(request(HELLO))
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})
    assert sent["max_tokens"] == 8_192


def test_leaves_tools_out_where_there_are_none():
    assert "tools" not in arguments(request(HELLO, tools=()))


def test_our_own_client_is_given_schemas_as_bytes_that_are_the_same():
    raw = arguments(request(HELLO), raw_tools=True)["tools"]
    assert isinstance(raw[0]["function"]["parameters"], msgspec.Raw)
    assert msgspec.json.encode(raw) == msgspec.json.encode(arguments(request(HELLO))["tools"])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"to": {"type": "string", "pattern": "\\p{L}"}}},
        {"type": "object", "patternProperties": {"\\p{L}": {}}},
        {"anyOf": [{"type": "object"}]},
    ],
)
def test_a_schema_that_openai_would_refuse_is_left_for_litellm_to_mend(schema):
    tool = ToolSpec(name="odd", description="Odd.", parameters=schema)
    sent = arguments(request(HELLO, tools=(tool,)), raw_tools=True)
    assert sent["tools"][0]["function"]["parameters"] == schema


def test_blank_texts_are_named_because_anthropic_refuses_them():
    sent = arguments(request(Message(role="user", content=" "), Message(role="assistant")))
    assert [message["content"] for message in sent["messages"]] == ["(empty)", "(empty)"]


def test_a_model_is_not_shown_its_own_malformed_arguments():
    calls = tuple(
        ToolCall(id=raw, name="reply", arguments=raw)
        for raw in ('{"text": "x",}', "", "nonsense", '{"text": "cut', "[1]", '{"a": "\ud800"}')
    )
    sent = arguments(request(HELLO, Message(role="assistant", tool_calls=calls)))
    shown = [call["function"]["arguments"] for call in sent["messages"][1]["tool_calls"]]
    assert [msgspec.json.decode(raw) for raw in shown] == [
        {"text": "x"},
        {},
        {"malformed": "nonsense"},
        {"malformed": '{"text": "cut'},
        {"malformed": "[1]"},
        {"a": "\ufffd"},
    ]


def test_what_no_provider_accepts_is_replaced():
    sent = arguments(request(Message(role="tool", tool_call_id="c1", content="a\x00b\ud800")))
    assert sent["messages"][0]["content"] == "a\ufffdb\ufffd"


def test_anthropic_caches_tools_the_system_prompt_and_what_is_settled():
    sent = arguments(request(SYSTEM, HELLO, NOTE, model="anthropic/claude"))
    mark = {"type": "ephemeral"}
    system, hello, note = sent["messages"]
    assert system["content"] == [{"type": "text", "text": "You are.", "cache_control": mark}]
    assert hello["content"] == [{"type": "text", "text": "hello", "cache_control": mark}]
    assert note["content"] == "[status] nothing runs"
    assert [tool.get("cache_control") for tool in sent["tools"]] == [None, mark]


def test_anthropic_caches_up_to_the_last_tool_result():
    result = Message(role="tool", tool_call_id="c1", content="sent")
    called = Message(role="assistant", tool_calls=(CALL,))
    sent = arguments(request(SYSTEM, HELLO, called, result, NOTE, model="anthropic/claude"))
    marked = [message for message in sent["messages"] if "cache_control" in message]
    assert [message["role"] for message in marked] == ["tool"]


def test_other_providers_get_no_marks():
    assert b"cache_control" not in msgspec.json.encode(arguments(request(SYSTEM, HELLO)))


def test_the_prefix_of_a_conversation_keeps_its_bytes():
    first = arguments(request(SYSTEM, HELLO, NOTE))
    other_note = Message(role="user", content="[status] a worker runs")
    second = arguments(request(SYSTEM, HELLO, other_note))
    assert msgspec.json.encode(first["messages"][:2]) == msgspec.json.encode(second["messages"][:2])
    assert msgspec.json.encode(first["tools"]) == msgspec.json.encode(second["tools"])
