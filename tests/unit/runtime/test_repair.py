"""Arguments as models really write them are read, or refused with an explanation."""

from typing import Annotated, Literal

import msgspec
import pytest

from services.runtime.repair import MalformedArguments, decode_arguments, loads


class Note(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10
    kind: Literal["fact", "goal"] | None = None
    flag: bool = False
    tags: list[str] = []


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('{"text": "a"}', Note(text="a")),
        ('{"text": "a", "limit": 5,}', Note(text="a", limit=5)),
        ("{'text': 'it is', 'limit': 3}", Note(text="it is", limit=3)),
        ("{text: hello, flag: True, kind: None}", Note(text="hello", flag=True)),
        ('```json\n{"text": "x"}\n```', Note(text="x")),
        ('Sure, here it is: {"text": "x"}', Note(text="x")),
        ('{"text": "a", "tags": ["b", "c"', Note(text="a", tags=["b", "c"])),
        ('{"text": "a", "limit": 7', Note(text="a", limit=7)),
        ('{"text": "a", "limit": "7", "flag": "true"}', Note(text="a", limit=7, flag=True)),
        ('{"text": "a", "limit": 3.0}', Note(text="a", limit=3)),
        ('"{\\"text\\": \\"x\\"}"', Note(text="x")),
        ('{"text": "two\nlines"}', Note(text="two\nlines")),
        ('{"text": "a", // why\n "limit": 2}', Note(text="a", limit=2)),
        ('{"text": "a", "unheard_of": 1}', Note(text="a")),
    ],
)
def test_reads_what_was_meant(raw, expected):
    assert decode_arguments(Note, raw) == expected


@pytest.mark.parametrize(
    "raw", ['{"command": "rm -rf /tmp/x', '{"text": "def f():\\n    return {', '{"te']
)
def test_a_text_that_was_cut_off_is_refused_not_completed(raw):
    with pytest.raises(MalformedArguments, match="end in the middle of a text"):
        loads(raw)


@pytest.mark.parametrize("raw", ["[]", "42", "null", "nonsense", '["a"]', '"text"'])
def test_what_is_no_object_is_refused(raw):
    with pytest.raises(MalformedArguments, match="not a JSON object"):
        loads(raw)


def test_an_empty_text_is_an_empty_object():
    assert loads("  ") == {}


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ("", "miss required field `text`"),
        ('{"text": "a", "limit": "many"}', "Expected `int`, got `str` - at `limit`"),
        ('{"text": "a", "limit": 99}', "Expected `int` <= 50 - at `limit`"),
        ('{"text": "a", "kind": "dream"}', "Invalid enum value 'dream' - at `kind`"),
        ('{"text": ["a"]}', "Expected `str`, got `array` - at `text`"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_is_expected(raw, complaint):
    with pytest.raises(MalformedArguments) as refusal:
        decode_arguments(Note, raw)
    assert complaint in str(refusal.value)
    assert "{text: str, limit?: int, kind?: " in str(refusal.value)


def test_nul_and_lone_surrogates_are_replaced_however_they_are_written():
    assert decode_arguments(Note, '{"text": "a\\u0000b\\ud800c"}').text == "a\ufffdb\ufffdc"
    assert decode_arguments(Note, '{"text": "a\x00b\ud800c"}').text == "a\ufffdb\ufffdc"
    assert loads('{"a": {"\\u0000": ["\\udfff"]}}') == {"a": {"\ufffd": ["\ufffd"]}}


def test_a_pair_of_surrogates_is_a_character():
    assert decode_arguments(Note, '{"text": "\\ud83d\\ude00"}').text == "😀"


@pytest.mark.parametrize(
    "raw", ["{" + "a: 1, " * 400_000, '{"a":' * 5_000, "{" + "[" * 5_000, "{'a':" * 5_000]
)
@pytest.mark.timeout(60)  # in the square of its length it would take minutes
def test_a_huge_or_endlessly_nested_text_is_refused(raw):
    with pytest.raises(MalformedArguments):
        loads(raw)
