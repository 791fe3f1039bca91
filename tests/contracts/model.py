"""What every model promises. Subclass it and provide the `model` and `request_` fixtures.

`request_` is a request whose answer has a text or a call.
"""

import msgspec

from services.runtime.model import Delta, Model, ModelRequest


class ModelContract:
    """Promises of `services.runtime.model.Model` about an answer that comes."""

    async def test_an_answer_has_a_text_or_a_call(self, model: Model, request_: ModelRequest):
        answer = await model.complete(request_)
        assert answer.text.strip() or answer.tool_calls

    async def test_an_answer_names_the_model_and_how_it_ended(
        self, model: Model, request_: ModelRequest
    ):
        answer = await model.complete(request_)
        assert (answer.model, bool(answer.finish)) == (request_.model, True)

    async def test_deltas_add_up_to_the_answer(self, model: Model, request_: ModelRequest):
        deltas: list[Delta] = []
        answer = await model.complete(request_, deltas.append)
        text = "".join(delta.text for delta in deltas if delta.tool is None)
        arguments = "".join(delta.text for delta in deltas if delta.tool is not None)
        assert text == answer.text
        assert arguments == "".join(call.arguments for call in answer.tool_calls)

    async def test_calls_have_ids_of_their_own(self, model: Model, request_: ModelRequest):
        calls = (await model.complete(request_)).tool_calls
        assert len({call.id for call in calls}) == len(calls)
        assert all(call.id for call in calls)

    async def test_calls_only_tools_that_were_offered(self, model: Model, request_: ModelRequest):
        offered = {tool.name for tool in request_.tools}
        assert {call.name for call in (await model.complete(request_)).tool_calls} <= offered

    async def test_counts_tokens_and_time(self, model: Model, request_: ModelRequest):
        answer = await model.complete(request_)
        assert answer.usage.input > 0
        assert answer.usage.output > 0
        assert answer.latency_ms >= 0

    async def test_lone_surrogates_and_nul_in_the_context_do_no_harm(
        self, model: Model, request_: ModelRequest
    ):
        broken = tuple(
            msgspec.structs.replace(message, content=f"{message.content} \x00\ud800")
            if message.role == "tool"
            else message
            for message in request_.messages
        )
        answer = await model.complete(msgspec.structs.replace(request_, messages=broken))
        assert answer.text or answer.tool_calls
