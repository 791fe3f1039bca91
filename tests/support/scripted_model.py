"""A model that answers by script and remembers what it was asked."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from schemas.run import ToolCall, Usage
from services.runtime.model import Delta, Message, ModelAnswer, ModelRequest, OnDelta

Scripted: TypeAlias = ModelAnswer | Exception
Brain: TypeAlias = Callable[[ModelRequest], Scripted]


class ScriptedModel:
    """Answers with what is queued, then as its brain says."""

    def __init__(self, *answers: Scripted, brain: Brain | None = None) -> None:
        self.queued = list(answers)
        self.brain = brain
        self.requests: list[ModelRequest] = []

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelAnswer:
        self.requests.append(request)
        if self.queued:
            answer = self.queued.pop(0)
        elif self.brain is not None:
            answer = self.brain(request)
        else:
            raise AssertionError(f"nobody expected this request: {request.messages[-1]}")
        if isinstance(answer, Exception):
            raise answer
        if on_delta is not None and answer.text:
            on_delta(Delta(text=answer.text))
        return answer


def says(text: str = "", *calls: ToolCall) -> ModelAnswer:
    """Return an answer."""
    return ModelAnswer(
        model="scripted/one",
        text=text,
        tool_calls=calls,
        usage=Usage(input=100, output=10),
        finish="tool_calls" if calls else "stop",
        latency_ms=1,
    )


def does(*calls: ToolCall) -> ModelAnswer:
    """Return an answer of calls alone."""
    return says("", *calls)


def calls(name: str, **arguments: object) -> ToolCall:
    """Return a call of a tool, its id as careless as a provider's."""
    return ToolCall(id="call", name=name, arguments=msgspec.json.encode(arguments).decode())


def by_prompt(scripts: Mapping[str, Sequence[Scripted]]) -> Brain:
    """Return a brain without memory of its own, as a model is: the same request, the same answer.

    Args:
        scripts: What the newest entry of the history contains, to the answers that follow it. The
            n-th is given when there are n answers in the run's own transcript already.
    """

    def brain(request: ModelRequest) -> Scripted:
        prompt, own = split(request)
        given = sum(message.role == "assistant" for message in own)
        for marker, answers in scripts.items():
            if marker in prompt.content:
                return answers[min(given, len(answers) - 1)]
        raise AssertionError(f"nobody expected this request: {prompt}")

    return brain


def split(request: ModelRequest) -> tuple[Message, list[Message]]:
    """Return the newest entry of a request's history, and what follows its note."""
    notes = [
        index
        for index, message in enumerate(request.messages)
        if message.role == "user" and message.content.startswith("[status]")
    ]
    return request.messages[notes[-1] - 1], list(request.messages[notes[-1] + 1 :])
