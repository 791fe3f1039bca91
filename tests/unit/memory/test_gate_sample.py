"""How much junk the gate lets through and how much it loses, on a labelled sample of 200."""

from collections import Counter
from pathlib import Path

from services.runtime.config import EmbeddingSettings
from services.runtime.fast_embedder import FastEmbedder
from tests.support.fake_clock import FakeClock
from tests.support.gate_sample import Line, figures, is_right, lines, outcome, ungated
from tests.support.model_folder import FOLDER, needs_model

DOCUMENT = Path(__file__).parents[3] / "docs" / "memory.md"
BUILT, HELD_OUT = lines()


def made(sample):
    return [(line, outcome(line)) for line in sample]


def test_the_sample_has_two_hundred_candidates_of_every_class_in_both_halves():
    counts = Counter(line.label for line in (*BUILT, *HELD_OUT))
    assert counts == {"new": 70, "duplicate": 25, "near": 30, "contradiction": 35, "junk": 40}
    for half in (BUILT, HELD_OUT):
        assert len(half) == 100
        whys = Counter(line.why for line in half if line.label == "junk")
        assert whys == dict.fromkeys(("restated", "system", "chatter", "recalled"), 5)


def test_what_was_held_out_comes_through_with_little_junk_and_little_loss():
    found = figures(made(HELD_OUT))
    assert found.junk / found.saved <= 0.05, wrong(HELD_OUT)
    assert found.lost / found.telling <= 0.03, wrong(HELD_OUT)
    assert found.right >= 95, wrong(HELD_OUT)


def test_without_the_gate_a_large_part_would_be_junk():
    without = ungated(HELD_OUT)
    assert without.junk / without.saved > 0.5
    assert without.lost == 0


def test_the_published_figures_are_those_of_the_sample():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert ungated(HELD_OUT).row("no gate, held-out half") in text
    assert figures(made(HELD_OUT)).row("words alone, held-out half") in text
    assert figures(made([*BUILT, *HELD_OUT])).row("words alone, all") in text


@needs_model
async def test_embeddings_lose_nothing_that_the_words_keep(tmp_path):
    embedder = FastEmbedder(EmbeddingSettings(path=FOLDER), tmp_path, FakeClock())

    async def cosines(line: Line) -> list[float]:
        texts = [line.text, *(old.text for old in line.olds)]
        mine, *theirs = await embedder.embed(texts)
        return [sum(a * b for a, b in zip(mine, other, strict=True)) for other in theirs]

    told = [(line, outcome(line, await cosines(line))) for line in HELD_OUT]
    assert figures(told).row("words and meaning, held-out half") in DOCUMENT.read_text("utf-8")
    assert figures(told).lost == figures(made(HELD_OUT)).lost


def wrong(sample):
    return [
        (line.label, line.text, result)
        for line, result in made(sample)
        if not is_right(line, result)
    ]
