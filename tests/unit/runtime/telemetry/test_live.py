"""What is measured where it happens: nothing where nobody asked, a leaf of the trace elsewhere."""

import pytest

from services.runtime.embedding import EmbedderUnavailable
from services.runtime.telemetry import context, names
from services.runtime.telemetry.context import TraceContext
from services.runtime.telemetry.embedding import MeasuredEmbedder, measured
from services.runtime.telemetry.live import LIVE, operation, searching
from tests.support.fake_embedder import FakeEmbedder
from tests.unit.runtime.telemetry.test_context import HEADER, received


class FakeRecorder:
    def __init__(self) -> None:
        self.operations = []

    def operated(self, operation):
        self.operations.append(operation)


@pytest.fixture
def recorder(monkeypatch):
    recorder = FakeRecorder()
    monkeypatch.setattr(LIVE, "recorder", recorder)
    return recorder


def test_nothing_is_told_where_nobody_asked():
    embedder = FakeEmbedder()
    assert measured(embedder) is embedder
    with searching(names.SEARCH_MEMORY, "memories", "acme", "tea?") as told:
        told[names.RECORD_COUNT] = 3


def test_a_search_is_told_with_what_it_found_and_where_it_was(recorder):
    with (
        context.handling(received()),
        context.within("run"),
        searching(names.SEARCH_MEMORY, "memories", "acme", "tea?") as told,
    ):
        told[names.RECORD_COUNT] = 3
        here = context.current()
    (it,) = recorder.operations
    assert (it.name, it.target, it.tenant) == ("search_memory", "memories", "acme")
    assert it.attributes == {names.STORE: "memories", names.RECORD_COUNT: 3}
    assert it.said[names.MEMORY_QUERY].text == "tea?"
    assert it.context == here == TraceContext(HEADER.split("-")[1], here.span_id)
    assert it.error is None


def test_what_goes_wrong_is_told_and_raised(recorder):
    with pytest.raises(ZeroDivisionError), operation("retrieval", "passages"):
        raise ZeroDivisionError
    assert recorder.operations[0].error == "ZeroDivisionError"


async def test_embeddings_are_told_with_their_model_and_size(recorder):
    embedder = measured(FakeEmbedder())
    vectors = await embedder.embed(["tea", "cake"])
    assert vectors == await FakeEmbedder().embed(["tea", "cake"])
    (it,) = recorder.operations
    assert it.name == "embeddings"
    assert it.attributes[names.TEXTS] == 2
    assert it.attributes[names.DIMENSIONS] == len(vectors[0])
    assert it.attributes[names.REQUEST_MODEL] == embedder.model


async def test_an_embedder_that_has_none_is_told_as_an_error(recorder):
    class Away(FakeEmbedder):
        async def embed(self, texts):
            raise EmbedderUnavailable("away")

    with pytest.raises(EmbedderUnavailable):
        await MeasuredEmbedder(Away()).embed(["tea"])
    assert recorder.operations[0].error == "EmbedderUnavailable"
