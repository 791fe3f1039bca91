"""`penstock memory eval` measures recall on any set, and leaves nothing behind."""

import json
import signal
from pathlib import Path

import pytest

from services.runtime.database import using
from tests.support.command import place
from tests.support.model_folder import FOLDER, needs_model
from tests.support.servers import until

pytestmark = pytest.mark.integration

SETS = Path(__file__).parents[1] / "data" / "retrieval"
WITH_MODEL = {"PENSTOCK_EMBEDDINGS_PATH": str(FOLDER)}


@pytest.fixture
def here(tmp_path):
    return place(tmp_path)


@needs_model
def test_on_the_half_that_nobody_tuned_on_hybrid_beats_meaning_and_words_alone(here):
    ran = here.run("memory", "eval", str(SETS / "held-out.jsonl"), "--json", **WITH_MODEL)
    assert ran.code == 0, ran.err
    found = ran.document
    assert (found["k"], found["sets"], found["memories"], found["queries"]) == (10, 1, 88, 52)
    hybrid, vector, text = (found["ways"][way] for way in ("hybrid", "vector", "text"))
    for measure in ("recall", "mrr"):
        assert hybrid[measure] > vector[measure]
        assert hybrid[measure] > text[measure]
    assert hybrid["recall"] >= 0.9


def test_the_bundled_set_is_as_large_as_it_is_said_to_be():
    halves = [json.loads((SETS / f"{half}.jsonl").read_text()) for half in ("tuned", "held-out")]
    assert sum(len(half["memories"]) for half in halves) >= 150
    assert sum(len(half["queries"]) for half in halves) >= 80
    texts = [{memory["text"] for memory in half["memories"]} for half in halves]
    assert not texts[0] & texts[1]
    kinds = {query["kind"] for half in halves for query in half["queries"]}
    assert kinds == {"words", "paraphrase", "names", "dates", "hops", "time"}


def test_without_a_model_words_are_measured_and_it_says_why(here, tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text(
        '{"memories": [{"id": "a", "text": "the cat sleeps", "at": "2025-01-01T10:00:00Z", '
        '"person": "Ana"}, {"id": "b", "text": "the car is red", "at": 1735725600}], "queries": '
        '[{"text": "what does the cat do?", "relevant": ["a"]}, '
        '{"text": "nothing of it", "relevant": ["a", "b"]}]}\n\n'
    )
    ran = here.run("memory", "eval", str(path), "--k", "1")
    assert ran.code == 0, ran.err
    assert "text only  0.500" in ran.out
    assert "embeddings.fetch" in ran.out
    assert not here.data_dir.exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1"),
        ('{"memories": [], "queries": [{"text": "x", "relevant": ["a"]}]}', "no memory 'a'"),
        ('{"memories": [{"id": "a", "text": "x", "at": "soon"}], "queries": []}', "soon"),
        ('{"memories": [], "queries": []}', "no query"),
    ],
)
def test_a_file_that_is_no_set_is_refused_with_the_place(here, tmp_path, line, said):
    path = tmp_path / "set.jsonl"
    path.write_text(line)
    ran = here.run("memory", "eval", str(path))
    assert ran.code != 0
    assert said in ran.err


def test_a_file_that_is_not_there_is_refused(here):
    assert here.run("memory", "eval", "nowhere.jsonl").code != 0


async def test_it_leaves_no_table_behind_when_it_is_interrupted(here, pool, database_url, tmp_path):
    async def schemas():
        async with using(pool) as conn:
            cursor = await conn.execute(
                "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'trial%'"
            )
            return [name for (name,) in await cursor.fetchall()]

    async def there():
        return await schemas()

    async def gone():
        return not await schemas()

    memories = [{"id": f"m{number}", "text": f"text {number}"} for number in range(5_000)]
    queries = [{"text": "text", "relevant": ["m1"]}] * 2_000
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"memories": memories, "queries": queries}))
    servers = {
        "PENSTOCK_DATABASE_URL": database_url,
        "PENSTOCK_NATS_URL": "nats://127.0.0.1:9",
    }
    words = ("memory", "eval", str(path))
    with here.running(*words, **servers) as process:
        await until(there, timeout_s=60)
        process.send_signal(signal.SIGINT)
        await until(gone, timeout_s=60)
    with here.running(*words, **servers) as process:
        await until(there, timeout_s=60)
        process.kill()
        process.wait()
    (left,) = await schemas()
    small = tmp_path / "small.jsonl"
    small.write_text(
        '{"memories":[{"id":"a","text":"x"}],"queries":[{"text":"x","relevant":["a"]}]}'
    )
    assert here.run("memory", "eval", str(small), **servers).code == 0
    await until(gone, timeout_s=30)
    assert left.startswith("trial_")
