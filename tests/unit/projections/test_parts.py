"""Every word of a passage is in a part; a part is a sentence or some short ones, and never long."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from projections.parts import LONGEST, SHORTEST, parts

LETTERS = "ab. !?\n\"'…。漢 \t»"


@given(st.text(LETTERS).filter(str.strip))
def test_all_that_is_said_is_in_some_part_and_in_order(text):
    found = parts(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(0 < len(part) <= LONGEST for part in found)
    assert all(part == part.strip() for part in found)


@given(st.text(LETTERS).filter(str.strip))
def test_what_is_short_stands_with_a_neighbour_where_there_is_room(text):
    found = parts(text)
    for part, behind in pairwise(found):
        assert min(len(part), len(behind)) >= SHORTEST or len(part) + 1 + len(behind) > LONGEST


def test_a_sentence_is_a_part_and_short_ones_are_joined():
    text = (
        "Releases go out on Thursday, unless somebody objects. Nobody deploys after four in the "
        'afternoon! Why? Because "we like our evenings." See below.\n\n'
        "The staging server is called heron;\nit is rebuilt every night."
    )
    assert parts(text) == [
        "Releases go out on Thursday, unless somebody objects.",
        "Nobody deploys after four in the afternoon!",
        'Why? Because "we like our evenings."',
        "See below. The staging server is called heron; it is rebuilt every night.",
    ]


def test_a_long_sentence_is_cut_between_words_and_what_has_none_anywhere():
    found = parts("word " * 200)
    assert {*" ".join(found).split()} == {"word"}
    assert [len(part) for part in parts("x" * (2 * LONGEST + 5))] == [LONGEST, LONGEST, 5]


def test_sentences_of_scripts_without_spaces_end_too():
    first, second = "漢" * 50 + "。", "字" * 60 + "。"
    assert parts(first + second) == [first, second]


@pytest.mark.parametrize("text", ["x", "ok.", "…", "\n\nx"])
def test_what_is_very_short_is_one_part(text):
    assert parts(text) == [text.strip()]


@pytest.mark.parametrize("text", ["", " ", "\x1c", "\n\n"])
def test_what_says_nothing_is_a_part_all_the_same(text):
    assert parts(text) == [text]
