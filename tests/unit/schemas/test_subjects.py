"""Subjects: any id that fits becomes one token and comes back unchanged; filters are NATS's."""

import re

import pytest
from hypothesis import assume, given, strategies as st

from schemas.subjects import (
    ABSENT,
    MAX_TOKEN,
    InvalidToken,
    Subject,
    decode,
    encode,
    matches,
    matching,
    parse,
)

TOKEN = re.compile(r"[a-z0-9_-]{1,64}")
ANYTHING = st.text(min_size=1, max_size=70)
LIKELY = st.text("ab09-_AZ /.*>é€👍\n\0", min_size=1, max_size=24)
RAW = st.text("abcf0127_-89A.é\n", max_size=12)


def fitting(values):
    """Return those of the values that have room in a token."""

    def fits(value):
        try:
            encode(value)
        except InvalidToken:
            return False
        return True

    return values.filter(fits)


@given(fitting(ANYTHING | LIKELY))
def test_whatever_fits_comes_back_unchanged(value):
    token = encode(value)
    assert TOKEN.fullmatch(token)
    assert token != ABSENT
    assert decode(token) == value


@given(fitting(LIKELY), fitting(LIKELY))
def test_two_values_never_share_a_token(one, other):
    assert (encode(one) == encode(other)) == (one == other)


@given(RAW)
def test_a_token_decodes_only_if_encoding_produces_it(raw):
    try:
        value = decode(raw)
    except InvalidToken:
        return
    assert encode(value) == raw


@given(st.text(max_size=12))
def test_decoding_any_text_gives_a_value_or_says_that_it_is_no_token(raw):
    try:
        decode(raw)
    except InvalidToken:
        return


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("plain-9", "plain-9"),
        ("_", "__"),
        ("snake_case", "snake__case"),
        ("General", "_general"),
        ("a b", "a_20b"),
        ("a.b", "a_2eb"),
        ("*", "_2a"),
        (">", "_3e"),
        ("\0", "_00"),
        ("é", "_-c3_-a9"),
        ("東", "_-e6_-9d_-b1"),
        ("A_-é", "_a__-_-c3_-a9"),
    ],
)
def test_encodes_as_documented(value, token):
    assert encode(value) == token
    assert decode(token) == value


@pytest.mark.parametrize(
    "token",
    [
        "",
        "_",
        "a_",
        "_2",
        "_2g",
        "_-",
        "_-c",
        "_-c3",  # half a character
        "_-41",  # a letter, written as a byte
        "_61",  # a letter that needs no escape
        "_2d",  # neither does -
        "_5f",  # an underscore is __
        "_41",  # an upper-case letter has its own escape
        "_-C3_-A9",
        "A",
        "é",
        "_é",
        "a.b",
        "\ud800",
        "x" * 65,
    ],
)
def test_refuses_a_token_that_encoding_never_produces(token):
    with pytest.raises(InvalidToken):
        decode(token)


def test_an_id_has_room_for_64_characters_and_not_one_more():
    assert len(encode("x" * MAX_TOKEN)) == 64
    with pytest.raises(InvalidToken, match="needs 65 characters"):
        encode("x" * 65)


def test_room_is_counted_as_encoded():
    assert len(encode("X" * 32)) == 64
    with pytest.raises(InvalidToken, match="needs 66 characters"):
        encode("X" * 33)


@pytest.mark.parametrize("value", ["", "\ud800", "a\udfff"])
def test_refuses_what_is_empty_or_no_text(value):
    with pytest.raises(InvalidToken):
        encode(value)


# -- subjects ---------------------------------------------------------------------------------

PARTS = fitting(st.text("abZ_. é>*", min_size=1, max_size=6))
SUBJECTS = st.builds(
    Subject,
    tenant=PARTS,
    agent=st.none() | PARTS,
    adapter=st.none() | PARTS,
    conversation=st.none() | PARTS,
    entity=PARTS,
    id=st.none() | PARTS,
)


def test_a_subject_is_seven_tokens_with_underscores_where_a_part_does_not_apply():
    memory = Subject("acme", "atlas", entity="memory")
    assert str(memory) == "evt.acme.atlas._._.memory._"
    assert str(Subject("acme", "Atlas", "discord", "8812 9931", "worker", "w_1")) == (
        "evt.acme._atlas.discord.8812_209931.worker.w__1"
    )


def test_the_streams_of_one_conversation_differ_in_entity_and_id():
    channel = Subject("acme", "atlas", "portal", "general")
    assert str(channel) == "evt.acme.atlas.portal.general.channel._"
    worker = channel.of("worker", "w1")
    assert str(worker) == "evt.acme.atlas.portal.general.worker.w1"
    assert worker.channel == channel


@given(SUBJECTS)
def test_a_subject_is_parsed_back(subject):
    assert parse(str(subject)) == subject


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "evt",
        "evt.acme.atlas.portal.general.channel",
        "evt.acme.atlas.portal.general.channel._.more",
        "live.acme.atlas.portal.general.channel._",
        "evt._.atlas.portal.general.channel._",
        "evt.acme.atlas.portal.general._._",
        "evt.acme..portal.general.channel._",
        "evt.acme.Atlas.portal.general.channel._",
        "evt.acme.*.portal.general.channel._",
        "evt.acme._2.portal.general.channel._",
        "evt.acme.atlas.portal.general.channel._\n",
    ],
)
def test_refuses_a_subject_that_is_not_ours(subject):
    with pytest.raises(InvalidToken):
        parse(subject)


# -- filters ----------------------------------------------------------------------------------


@given(SUBJECTS, st.sets(st.sampled_from(Subject._fields)))
def test_a_filter_of_some_parts_selects_the_subject(subject, chosen):
    parts = {name: getattr(subject, name) for name in chosen}
    assert matches(matching(**parts), str(subject))


@given(SUBJECTS, SUBJECTS, st.sampled_from(["tenant", "entity"]))
def test_a_filter_never_selects_another_part(subject, other, name):
    assume(getattr(subject, name) != getattr(other, name))
    assert not matches(matching(**{name: getattr(subject, name)}), str(other))


def test_a_part_with_wildcards_in_its_name_selects_itself_alone():
    pattern = matching(tenant="*", conversation=">")
    assert pattern == "evt._2a.*.*._3e.*.*"
    assert not matches(pattern, str(Subject("acme", "a", "portal", "general")))


def by_definition(pattern, subject):
    """Return what the documentation of NATS says: `*` is one token, `>` at the end is the rest."""
    wanted = [re.escape(token) if token not in {"*", ">"} else token for token in pattern]
    last = {">": r"[^.]+(\.[^.]+)*", "*": "[^.]+"}
    expression = r"\.".join(last.get(token, token) for token in wanted)
    return re.fullmatch(expression, ".".join(subject)) is not None


PATTERNS = st.tuples(
    st.lists(st.sampled_from("ab*"), max_size=4), st.sampled_from([[">"], ["a"], ["*"]])
).map(lambda parts: parts[0] + parts[1])


@given(PATTERNS, st.lists(st.sampled_from("ab"), min_size=1, max_size=6))
def test_filters_select_what_nats_selects(pattern, subject):
    assert matches(".".join(pattern), ".".join(subject)) == by_definition(pattern, subject)
