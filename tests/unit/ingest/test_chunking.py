"""A text is divided at good borders, always the same ones, and an edit moves only those near it."""

from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, strategies as st

from services.ingest.chunking import Heading, Text, passages
from services.ingest.formats.plain import lines_to_text
from services.ingest.passage import LONGEST, LONGEST_HEADING, SHORTEST

SENTENCE = "the log tells what happened when a document was read and stored again by nobody"
WORDS = SENTENCE.split(" ")


def prose(seed: int, paragraphs: int) -> list[str]:
    """Return paragraphs of sentences, none like another."""
    random = Random(seed)  # noqa: S311 - not for secrets

    def sentence() -> str:
        words = random.choices(WORDS, k=random.randrange(5, 20))
        return " ".join(words).capitalize() + f" {random.randrange(10**6)}."

    return [" ".join(sentence() for _ in range(random.randrange(1, 9))) for _ in range(paragraphs)]


def divided(text: str, headings=()) -> list[str]:
    return [passage.text for passage in passages(Text(text, headings))]


def squeezed(text: str) -> str:
    return "".join(text.split())


@given(st.text(max_size=6_000))
def test_nothing_is_lost_and_nothing_is_said_twice(text):
    assert squeezed("".join(divided(text))) == squeezed(text)


@given(st.text(alphabet="ab .\n", min_size=3_000, max_size=9_000))
def test_no_passage_is_too_long_or_empty(text):
    found = divided(text)
    assert all(0 < len(each) <= LONGEST for each in found)
    assert all(each == each.strip() for each in found)


@pytest.mark.parametrize("character", ["x", "東", "👩"])
def test_text_without_any_border_is_divided_all_the_same(character):
    found = divided(character * 10_000)
    assert "".join(found) == character * 10_000
    assert all(len(each) <= LONGEST for each in found)


def test_the_hash_is_that_of_the_text():
    for passage in passages(Text("\n\n".join(prose(1, 40)))):
        assert passage.sha256 == sha256(passage.text.encode()).hexdigest()


def test_passages_are_about_as_long_as_they_should_be():
    sizes = [len(each) for each in divided("\n\n".join(prose(2, 400)))]
    assert all(size >= SHORTEST - 2 for size in sizes[:-1])
    assert 900 < sum(sizes) / len(sizes) < LONGEST


def test_a_border_between_paragraphs_is_taken_before_one_within():
    paragraphs = [each[:300].strip() for each in prose(3, 60) if len(each) > 300]
    assert len(paragraphs) > 20
    for passage in divided("\n\n".join(paragraphs)):
        assert set(passage.split("\n\n")) <= set(paragraphs)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("change", ["change", "insert", "remove"])
def test_an_edit_in_the_middle_changes_only_passages_near_it(seed, change):
    before = prose(seed, 300)
    after = [*before]
    if change == "remove":
        del after[150]
    elif change == "insert":
        after.insert(150, "Something new, of a certain length, that nobody had said before. " * 3)
    else:
        after[150] = "Said in other words. " + after[150][40:]
    old, new = divided("\n\n".join(before)), divided("\n\n".join(after))
    assert len(set(new) - set(old)) <= 12
    assert len(set(old) & set(new)) > 0.9 * len(old)


def test_a_section_begins_a_passage_and_names_it():
    lines = ["# Guide", "", *prose(4, 6), "", "## Setup", "", *prose(5, 9), "## Use", *prose(6, 9)]
    text = lines_to_text(lines, ".md")
    assert [heading.title for heading in text.headings] == ["Guide", "Setup", "Use"]
    found = list(passages(text))
    assert {passage.heading for passage in found} == {"Guide", "Guide > Setup", "Guide > Use"}
    assert any(passage.text.startswith("## Setup") for passage in found)


def test_a_very_deep_path_of_headings_keeps_its_end():
    headings = [Heading(level, level, f"{level} " + "x" * 80) for level in range(1, 7)]
    (passage,) = passages(Text("abcdefgh", headings))
    assert passage.heading == ""
    (passage,) = passages(
        Text("abcdefgh", [Heading(0, level, f"{level}" * 99) for level in range(1, 7)])
    )
    assert len(passage.heading) == LONGEST_HEADING
    assert passage.heading.endswith("6" * 99)
