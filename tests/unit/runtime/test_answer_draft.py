"""An answer is put together from the pieces that very different servers send."""

from services.runtime.answer_draft import AnswerDraft
from services.runtime.model import Delta
from services.runtime.openai_client import CallPiece, Choice, FunctionPiece, Piece


def call(
    index: int | None = 0, name: str | None = None, arguments: str | None = None, **fields: str
) -> Choice:
    function = FunctionPiece(name=name, arguments=arguments)
    part = CallPiece(index=index, function=function, id=fields.get("id"))
    return Choice(delta=Piece(tool_calls=[part]))


def calls_of(draft: AnswerDraft) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in draft.tool_calls()]


def test_joins_text_and_interleaved_calls():
    deltas: list[Delta] = []
    draft = AnswerDraft(on_delta=deltas.append)
    draft.add([Choice(delta=Piece(content="He"))])
    draft.add([call(0, "reply", "", id="a"), call(1, "branch", "", id="b")])
    draft.add([call(1, arguments='{"task"'), call(0, arguments='{"te')])
    draft.add([call(0, arguments='xt":1}'), call(1, arguments=":2}")])
    draft.add([Choice(delta=Piece(content="llo"), finish_reason="tool_calls")])
    assert "".join(draft.text) == "Hello"
    assert calls_of(draft) == [("reply", '{"text":1}'), ("branch", '{"task":2}')]
    assert [call.id for call in draft.tool_calls()] == ["a", "b"]
    assert [delta.tool for delta in deltas] == [None, "branch", "reply", "reply", "branch", None]
    assert draft.finish == "tool_calls"


def test_tells_calls_apart_that_all_have_index_0():
    draft = AnswerDraft()
    draft.add([call(0, "reply", "{}", id="a")])
    draft.add([call(0, "skip", "{}", id="b")])
    assert calls_of(draft) == [("reply", "{}"), ("skip", "{}")]


def test_an_id_repeated_with_each_piece_is_one_call():
    draft = AnswerDraft()
    draft.add([call(0, "reply", "{", id="a")])
    draft.add([call(0, None, "}", id="a")])
    assert calls_of(draft) == [("reply", "{}")]


def test_gives_ids_where_there_are_none_or_old_ones():
    draft = AnswerDraft(taken={"call_0"})
    draft.add([call(0, "reply", "{}", id="call_0"), call(1, "skip", "{}")])
    ids = [call.id for call in draft.tool_calls()]
    assert len({*ids, "call_0", ""}) == 4


def test_blank_text_alone_is_an_empty_answer():
    draft = AnswerDraft()
    draft.add([Choice(delta=Piece(content=" \n"), finish_reason="stop")])
    assert draft.is_empty
