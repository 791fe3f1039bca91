"""A model that hands a message on: the turn to a branch, the branch to a worker, and back.

What it answers depends on what it is shown alone, so that it can be asked again after a crash.
"""

import msgspec

from tests.support.scripts import Answer

KEYED = {"PENSTOCK_MODEL": "openai/relay", "OPENAI_API_KEY": "sk-not-a-secret"}


def relay(body) -> Answer:
    """Answer one request."""
    names = {tool["function"]["name"] for tool in body.get("tools", [])}
    messages = [m for m in body["messages"] if m["role"] != "system"]
    called = [m for m in messages if m["role"] == "tool"]
    if "reply" in names:
        return _turn(messages, called)
    if "shell" in names:
        if not called:
            return _call("shell", command="echo the parcel")
        return _call("set_status", status="parcel sent", kind="outcome", outcome="succeeded")
    return _call("spawn_worker", task="send the parcel")


def _turn(messages, called) -> Answer:
    told = [m["content"] or "" for m in messages if m["role"] == "user"]
    if any("result of worker" in text for text in told):
        return _call("reply", text="the parcel is sent")
    if not called:
        return _call("branch", task="see to the parcel")
    return _call("reply", text="I will see to it")


def _call(name, **arguments) -> Answer:
    return Answer(tool_calls=((name, msgspec.json.encode(arguments).decode()),), cached=2)
