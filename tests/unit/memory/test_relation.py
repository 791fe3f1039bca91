"""How two statements stand to one another, by their words."""

import pytest
from hypothesis import given, strategies as st

from services.memory.junk import Heard, refusal
from services.memory.relation import relation
from services.memory.wording import normal, read

WORDS = (
    *("Ana", "Bo", "is", "isn't", "not", "likes", "lives", "in", "Bern", "Basel", "Thursday", "on"),
    *("12,000", "14:00", "may", "May", "'s", ",", ":", "the", "\u2019", "\u2014", "called"),
    "\u6771\u4eac",
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join))


@pytest.mark.parametrize(
    ("new", "old", "how"),
    [
        ("Thursday is our release day", "The release day is Thursday.", "covered"),
        ("Every night at two the backup runs", "The backup runs every night at two", "covered"),
        ("Release notes are written by Bo", "Bo writes the release notes", "covered"),
        ("Ana is allergic to nuts and milk", "Ana is allergic to nuts", "covers"),
        ("The price is 12 000 euros", "the price is 12,000 euros", "same"),
        ("The back-up is slow", "The backup is slow.", "same"),
        ("Ana lives in Basel", "Ana lives in Bern", "contradicts"),
        ("The stand-up takes ten minutes", "The stand-up takes 15 minutes", "contradicts"),
        ("We no longer use Jenkins", "We use Jenkins", "contradicts"),
        ("Ana hates tea", "Ana likes tea", "contradicts"),
        ("Our lead is Bo", "Our lead is Ana", "contradicts"),
        ("Jane Doe is the CEO", "The CEO is John Smith", "contradicts"),
        ("Alice prefers dark mode", "Alice prefers light mode", "contradicts"),
        ("The service is owned by Ana", "The service is owned by Bo", "contradicts"),
        ("Ana's favourite food is sushi", "Ana's favourite food is pizza", "contradicts"),
        ("The deadline is 2026-03-03", "The deadline is 2026-03-10", "contradicts"),
        ("The lift in building B is broken", "The lift in building B is broken again", "covered"),
        ("Alice has a dog", "Alice has a cat", "other"),
        ("Bob is vegetarian", "Bob is a developer", "other"),
        ("The guest wifi password is x1", "The wifi password is x1", "other"),
        ("The server is in Bern", "The server is fast", "other"),
        ("Ana is a designer", "Ana is on holiday until Monday", "other"),
        ("Deployments need two approvals", "Deployments happen on Tuesdays", "other"),
        ("The lift in building B is broken", "The lift in building A is broken", "other"),
        ("We considered to use Postgres", "We use Postgres", "other"),
    ],
)
def test_statements_are_told_apart(new, old, how):
    assert relation(new, old) == how


@given(TEXTS, TEXTS)
def test_any_two_texts_can_be_compared(new, old):
    assert relation(new, old, cosine=0.99) in {
        *("same", "covered", "covers", "reworded", "contradicts", "other")
    }
    assert refusal(new, "fact", Heard(recalled=(old,), own=(old,), said=(), system=(old,))) or True


@given(TEXTS)
def test_a_text_is_the_same_as_itself_and_never_contradicts_itself(text):
    assert relation(text, text) == "same"
    assert relation(text, text + " ") == "same"


@given(TEXTS, TEXTS)
def test_what_contradicts_is_contradicted(new, old):
    assert (relation(new, old) == "contradicts") == (relation(old, new) == "contradicts")


@given(TEXTS)
def test_a_normal_text_stays_as_it_is(text):
    assert normal(normal(text)) == normal(text)


def test_a_statement_is_taken_apart():
    wording = read("Ana\u2019s budget for May isn't 12,000 euros, never mind")
    assert [(word.stem, word.sort) for word in wording.words] == [
        ("ana", "word"),
        ("budget", "word"),
        ("may", "month"),
        ("12000", "number"),
        ("euro", "word"),
        ("mind", "word"),
    ]
    assert (wording.denied, wording.verb) == (True, "is")
