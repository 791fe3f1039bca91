"""The rules behind the `Model` port."""

import hashlib
import re
from time import perf_counter
from typing import Any, Final

import msgspec

from schemas.run import ToolCall, Usage
from services.runtime.model import Delta, ModelAnswer, ModelRequest, OnDelta, ToolSpec
from services.runtime.offline import extract, keep, synthesise, talk, think, transcript, work
from services.runtime.offline.step import Step
from services.runtime.repair import clean

CHARS_PER_TOKEN: Final = 4  # the usual estimate for English


class OfflineModel:
    """Answers by rules; needs no key, no network and no time."""

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelAnswer:
        """Return what the rules say; never raises."""
        started = perf_counter()
        step = decide(request)
        calls = _calls(request, step)
        if on_delta is not None:
            _show(step.text, calls, on_delta)
        return ModelAnswer(
            model=request.model,
            text=step.text,
            tool_calls=calls,
            usage=_usage(request, step, calls),
            finish="tool_calls" if calls else "stop",
            latency_ms=round((perf_counter() - started) * 1_000),
        )


def decide(request: ModelRequest) -> Step:
    """Return the next step: a pure function of the request."""
    messages = tuple(
        msgspec.structs.replace(message, content=clean(message.content))
        for message in request.messages
    )
    offered = {tool.name for tool in request.tools}
    match request.kind:
        case "turn":
            return talk.decide(transcript.of_turn(messages), offered)
        case "branch" if "memory_receipt" in offered:
            return keep.decide(messages, transcript.of_run(messages), offered)
        case "branch":
            return think.decide(transcript.of_run(messages), offered)
        case "worker":
            return work.decide(transcript.of_run(messages), offered)
        case "synthesis":
            return synthesise.decide(messages[-1].content)
        case "compaction":
            return extract.decide(messages)


def accepted(spec: ToolSpec, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return those of `arguments` that the tool has."""
    known = spec.parameters.get("properties")
    if not isinstance(known, dict):
        return arguments
    return {name: value for name, value in arguments.items() if name in known}


def _calls(request: ModelRequest, step: Step) -> tuple[ToolCall, ...]:
    """Return the step's calls, with ids that only this request gives."""
    shown = repr(request.messages).encode(errors="backslashreplace")
    seed = hashlib.blake2s(shown, digest_size=9).hexdigest()
    specs = {tool.name: tool for tool in request.tools}
    return tuple(
        ToolCall(
            id=f"call_{seed}_{at}",
            name=name,
            arguments=msgspec.json.encode(accepted(specs[name], arguments)).decode(),
        )
        for at, (name, arguments) in enumerate(step.calls)
    )


def _usage(request: ModelRequest, step: Step, calls: tuple[ToolCall, ...]) -> Usage:
    shown = sum(
        len(message.content) + sum(len(call.arguments) for call in message.tool_calls)
        for message in request.messages
    )
    written = len(step.text) + sum(len(call.arguments) for call in calls)
    return Usage(
        input=shown // CHARS_PER_TOKEN, output=-(-written // CHARS_PER_TOKEN), cost_usd=0.0
    )


def _show(text: str, calls: tuple[ToolCall, ...], on_delta: OnDelta) -> None:
    """Pass the answer on word by word, as a model would."""
    for word in re.findall(r"\s*\S+", text):
        on_delta(Delta(text=word))
    for call in calls:
        for word in re.findall(r"\s*\S+", call.arguments):
            on_delta(Delta(text=word, tool=call.name))
