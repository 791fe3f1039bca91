"""Text from outside can be stored by everything and is cut on a character's boundary."""

import re

import pytest
from hypothesis import given, strategies as st

from services.runtime.text import SHORTEST, clean, cut, shorten

any_text = st.text(alphabet=st.characters(exclude_categories=()))


def test_nul_bytes_become_a_visible_character():
    assert clean(b"a\0b") == clean("a\0b") == "a\u2400b"


def test_lone_surrogates_become_replacement_characters():
    assert clean("a\ud800b\udfff") == "a\ufffdb\ufffd"


def test_bytes_that_are_not_utf8_become_replacement_characters():
    assert clean(b"\xff caf\xc3\xa9 \xed\xa0\x80") == "\ufffd café \ufffd\ufffd\ufffd"


@given(st.binary() | any_text)
def test_clean_text_encodes_and_has_no_nul_and_is_stable(raw):
    text = clean(raw)
    assert "\0" not in text
    assert text.encode().decode() == text
    assert clean(text) == text


@given(any_text.map(clean))
def test_clean_leaves_good_text_alone(text):
    assert clean(text) == text


def test_short_text_is_not_cut():
    assert cut("é" * 50, 100) == "é" * 50


@given(st.text().map(clean), st.integers(SHORTEST, 400), st.sampled_from(["start", "both"]))
def test_a_cut_fits_and_says_how_much_is_missing(text, limit, keep):
    text = text * 20
    short = cut(text, limit, keep=keep)
    assert len(short.encode()) <= limit
    if short != text:
        start, left_out, end = re.split(r"\n\[\.\.\. ([\d,]+) bytes left out \.\.\.\]\n", short)
        assert text.startswith(start)
        assert text.endswith(end)
        assert (end == "") == (keep == "start")
        size = len(text.encode())
        assert len((start + end).encode()) + int(left_out.replace(",", "")) == size


def test_the_start_or_both_ends_are_kept():
    text = "a" * 1_000 + "z" * 1_000
    assert cut(text, 200).startswith("a" * 100)
    assert cut(text, 200).endswith("left out ...]\n")
    assert cut(text, 200, keep="both").startswith("a" * 50)
    assert cut(text, 200, keep="both").endswith("z" * 50)


def test_a_character_is_never_split():
    assert "\ufffd" not in cut("🦉" * 1_000, 333, keep="both")


def test_a_limit_with_no_room_for_the_note_is_an_error():
    with pytest.raises(ValueError, match="99 bytes"):
        cut("", SHORTEST - 1)


def test_a_line_is_shortened_between_words():
    assert shorten("one two three", 9) == "one two…"
    assert shorten("one  two\nthree", 13) == "one two three"
    assert shorten("x" * 300, 256) == "x" * 255 + "…"


@given(any_text, st.integers(1, 300))
def test_a_shortened_line_is_one_line_within_the_limit(text, limit):
    short = shorten(text, limit)
    assert len(short) <= limit
    assert "\n" not in short
