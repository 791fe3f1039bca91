"""The embedder loads its model when it is first needed, and where it cannot, it says what to do."""

import asyncio
import shutil

import pytest

from services.runtime.config import EmbeddingSettings
from services.runtime.embedding import EmbedderUnavailable
from services.runtime.fast_embedder import BATCH_TOKENS, RETRY_S, FastEmbedder, batches
from services.runtime.model_folder import ModelFolder, is_fetched
from tests.support.fake_clock import FakeClock
from tests.support.model_folder import FOLDER, needs_model


def embedder(tmp_path, clock=None, **settings):
    return FastEmbedder(EmbeddingSettings(**settings), tmp_path / "models", clock or FakeClock())


async def unavailable(embedder):
    with pytest.raises(EmbedderUnavailable) as caught:
        await embedder.embed(["x"])
    return caught.value


@pytest.fixture
def folder(tmp_path):
    """A copy of the model, to be damaged."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in FOLDER.iterdir():
        shutil.copyfile(file, copy / file.name)
    return copy


@needs_model
async def test_the_same_text_has_the_same_vector_and_like_texts_have_like_ones(tmp_path):
    here = embedder(tmp_path, path=FOLDER)
    one, again, alike, other = await here.embed(
        ["the cat sleeps", "the cat sleeps", "a kitten is napping", "interest rates rose"]
    )
    assert one == again
    assert len(one) == here.dimensions == 384
    assert sum(number * number for number in one) == pytest.approx(1, abs=1e-5)
    closeness = [sum(a * b for a, b in zip(one, each, strict=True)) for each in (alike, other)]
    assert closeness[0] > closeness[1] + 0.3


@needs_model
async def test_texts_of_any_length_have_the_vectors_that_they_have_alone(tmp_path):
    here = embedder(tmp_path, path=FOLDER)
    texts = ["the cat sleeps " * 20, "rain", "interest rates rose", "a doctor called " * 40, "ok"]
    together = await here.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        (alone,) = await here.embed([text])
        assert sum(a * b for a, b in zip(alone, vector, strict=True)) > 0.97


@needs_model
@pytest.mark.parametrize("threads", [0, 3])
async def test_many_texts_come_back_in_order_while_a_question_goes_between(tmp_path, threads):
    here = embedder(tmp_path, path=FOLDER, threads=threads)
    texts = [f"text number {number}" for number in range(50)]
    many = asyncio.create_task(here.embed(texts))
    (question,) = await here.embed(["text number 7"])
    vectors = await many
    assert len(vectors) == 50
    assert all(
        sum(a * b for a, b in zip(vector, other, strict=True)) > 0.97
        for vector, other in zip(vectors, await here.embed(texts), strict=True)
    )
    assert sum(a * b for a, b in zip(vectors[7], question, strict=True)) > 0.99


@needs_model
async def test_its_name_follows_from_what_is_in_the_folder(folder):
    name = ModelFolder(folder).name
    assert name == ModelFolder(folder).name
    weights = bytearray((folder / "model.onnx").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / "model.onnx").write_bytes(weights)
    assert ModelFolder(folder).name != name


@needs_model
@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json", "config.json"])
async def test_a_folder_that_lacks_a_file_is_named_at_once(tmp_path, folder, file):
    (folder / file).unlink()
    here = embedder(tmp_path, path=folder)
    assert file in here.standing
    assert "embeddings.path" in here.standing
    assert file in str(await unavailable(here))


@needs_model
async def test_a_damaged_model_is_noticed_when_it_is_loaded(tmp_path, folder):
    (folder / "model.onnx").write_bytes(b"cut short")
    here = embedder(tmp_path, path=folder)
    problem = await unavailable(here)
    assert "damaged" in str(problem)
    assert "embeddings.path" in (problem.fix or "")
    assert "words and links alone" in here.standing


@needs_model
async def test_what_failed_is_tried_again_later_and_not_at_every_question(tmp_path, folder):
    clock = FakeClock()
    (folder / "config.json").rename(folder / "away")
    here = embedder(tmp_path, clock, path=folder)
    await unavailable(here)
    (folder / "away").rename(folder / "config.json")
    await unavailable(here)
    clock.advance(RETRY_S + 1)
    assert len(await here.embed(["x"])) == 1


async def test_without_a_model_and_without_leave_to_fetch_one_nothing_is_loaded(tmp_path):
    here = embedder(tmp_path, fetch=False)
    assert "embeddings.fetch" in str(await unavailable(here))
    assert "words and links alone" in here.standing


def test_a_cache_without_the_models_weights_has_not_fetched_it(tmp_path):
    name = "sentence-transformers/all-MiniLM-L6-v2"
    assert not is_fetched(name, tmp_path)
    there = tmp_path / "models--qdrant--all-MiniLM-L6-v2-onnx" / "snapshots" / "x"
    there.mkdir(parents=True)
    assert not is_fetched(name, tmp_path)
    (there / "model.onnx").touch()
    assert is_fetched(name, tmp_path)


def test_batches_have_every_text_once_like_lengths_together_and_few_tokens_to_read():
    sizes = [3, 500, 12, 4, 480, BATCH_TOKENS + 1, 12, *range(20, 60)]
    found = list(batches(sizes))
    assert sorted(at for batch in found for at in batch) == list(range(len(sizes)))
    read = [len(batch) * max(sizes[at] for at in batch) for batch in found]
    assert all(
        tokens <= BATCH_TOKENS or len(batch) == 1 for tokens, batch in zip(read, found, strict=True)
    )
    assert sum(read) < 1.2 * sum(sizes)


def test_without_texts_there_are_no_batches():
    assert list(batches([])) == []


@needs_model
async def test_a_question_does_not_wait_for_all_of_a_library(tmp_path):
    here = embedder(tmp_path, path=FOLDER)
    await here.embed(["loaded"])
    done = []

    async def ask(*texts):
        await here.embed(texts)
        done.append(len(texts))

    many = asyncio.create_task(ask(*[f"a sentence about matter {n} " * 9 for n in range(120)]))
    await asyncio.sleep(0)
    await ask("a question")
    await many
    assert done == [1, 120]


@needs_model
async def test_texts_that_nobody_waits_for_any_more_keep_nobody_waiting(tmp_path):
    here = embedder(tmp_path, path=FOLDER)
    await here.embed(["loaded"])
    minutes_of_work = asyncio.create_task(here.embed(["a long sentence " * 60] * 4_000))
    await asyncio.sleep(0)
    minutes_of_work.cancel()
    vectors = await asyncio.wait_for(here.embed(["one"] * 4_001), 60)
    assert len(vectors) == 4_001


@needs_model
async def test_nothing_has_no_vectors(tmp_path):
    assert await embedder(tmp_path, path=FOLDER).embed([]) == []
