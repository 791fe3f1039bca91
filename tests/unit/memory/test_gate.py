"""What the gate makes of a candidate, given what is remembered and what the run was shown."""

import pytest

from schemas.base import MemoryId
from schemas.memory import MemoryLinked, MemorySaved, MemoryTouched, Replaced
from services.memory import junk
from services.memory.gate import Candidate, Neighbour, NotWorthKeeping, correct, decide
from services.memory.junk import Heard

DAY = "Our release day is Thursday."


def candidate(text=DAY, kind="fact", **fields):
    given = {"importance": 0.6, "scope": "agent", "person": "portal:ana", **fields}
    return Candidate(memory_id=MemoryId("new"), kind=kind, text=text, **given)


def known(text=DAY, id_="old", kind="fact", **fields):
    return Neighbour(memory_id=MemoryId(id_), kind=kind, text=text, **fields)


def replaced(events):
    return {(one.memory_id, one.why) for one in events[0].replaces}


def test_what_is_new_is_saved_with_where_it_comes_from():
    (event,) = decide(candidate(conversation="portal/general"), [known("We deploy on Mondays.")])
    assert event == MemorySaved(
        memory_id=MemoryId("new"),
        kind="fact",
        text=DAY,
        importance=0.6,
        scope="agent",
        person="portal:ana",
        conversation="portal/general",
    )


def test_the_same_again_is_noted_and_not_saved():
    (event,) = decide(candidate("our release day is THURSDAY"), [known()])
    assert event == MemoryTouched(memory_id=MemoryId("old"), person="portal:ana")


def test_the_same_under_another_kind_is_the_same():
    (event,) = decide(candidate(kind="decision"), [known()])
    assert isinstance(event, MemoryTouched)


def test_a_poorer_way_to_say_it_is_noted_and_the_richer_one_stays():
    (event,) = decide(candidate("Thursday is our release day."), [known(DAY[:-1] + ", at noon.")])
    assert isinstance(event, MemoryTouched)


def test_a_richer_way_to_say_it_replaces_the_poorer_one_and_keeps_its_weight():
    (event,) = decide(candidate(DAY[:-1] + ", at noon."), [known(importance=0.9)])
    assert event.replaces == (Replaced(memory_id=MemoryId("old"), why="duplicate"),)
    assert event.importance == 0.9


def test_another_value_of_the_same_replaces_it_and_says_that_they_contradict():
    saved, linked = decide(candidate("Our release day is Friday."), [known()])
    assert replaced([saved]) == {("old", "contradiction")}
    assert linked == MemoryLinked(
        memory_id=MemoryId("new"), to=MemoryId("old"), relation="contradicts", weight=0.9
    )


def test_a_contradiction_is_told_from_a_duplicate_however_similar_the_embeddings_are():
    events = decide(candidate("Our release day is Friday."), [known(cosine=0.99)])
    assert replaced(events) == {("old", "contradiction")}


def test_a_denial_contradicts():
    events = decide(candidate("Our release day isn't Thursday."), [known()])
    assert replaced(events) == {("old", "contradiction")}


def test_a_decision_contradicts_a_fact_of_the_same():
    events = decide(candidate("Our release day is Friday.", "decision"), [known()])
    assert replaced(events) == {("old", "contradiction")}


def test_what_happened_twice_is_no_contradiction():
    (event,) = decide(
        candidate("The build failed on Tuesday.", "event"),
        [known("The build failed on Monday.", kind="event", cosine=0.98)],
    )
    assert event.replaces == ()


def test_all_that_says_the_same_or_the_contrary_is_replaced_at_once():
    events = decide(
        candidate("Our release day is Friday, at noon."),
        [known("Our release day is Friday.", "poor"), known(DAY, "untrue")],
    )
    assert replaced(events) == {("poor", "duplicate"), ("untrue", "contradiction")}
    events = decide(
        candidate("Our release day is Friday."),
        [known("Our release day is Friday.", "same"), known(DAY, "untrue")],
    )
    assert replaced(events) == {("same", "duplicate"), ("untrue", "contradiction")}


def test_other_words_are_the_same_only_where_the_embeddings_say_so():
    old = known("Ana starts her day at eight.", cosine=0.96)
    new = candidate("Ana begins her day at eight.")
    assert replaced(decide(new, [old])) == {("old", "duplicate")}
    (event,) = decide(new, [known(old.text, cosine=0.8)])
    assert event.replaces == ()
    (event,) = decide(new, [known(old.text)])
    assert event.replaces == ()


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("Bo reports to Ana.", "Ana reports to Bo."),
        ("Bo lives in Bern.", "Ana lives in Bern."),
        ("Ana likes coffee in the morning.", "Ana likes tea in the morning."),
        ("Invoice 42 is paid.", "Invoice 41 is paid."),
        ("Ana's sister likes tea.", "Ana likes tea."),
    ],
)
def test_nothing_is_lost_however_similar_the_embeddings_are(new, old):
    (event,) = decide(candidate(new), [known(old, cosine=0.99)])
    assert (event.text, event.replaces) == (new, ())


# -- refused ------------------------------------------------------------------------------------


def refusal(text, kind="fact", **heard):
    with pytest.raises(NotWorthKeeping) as refused:
        decide(candidate(text, kind), [], Heard(**heard))
    return str(refused.value)


def test_what_was_just_recalled_is_not_saved_again():
    assert refusal("The release day is Thursday.", recalled=(DAY,)) == junk.ECHO
    both = (DAY, "Ana likes tea.")
    assert refusal("Our release day is Thursday and Ana likes tea.", recalled=both) == junk.ECHO


def test_words_of_several_recalled_memories_can_say_something_new():
    recalled = ("Ana lives in Bern.", "Bo likes tea.")
    (event,) = decide(candidate("Bo lives in Bern."), [], Heard(recalled=recalled))
    assert isinstance(event, MemorySaved)


def test_what_contradicts_what_was_recalled_is_saved():
    new = candidate("Our release day is Friday.")
    saved, _ = decide(new, [known()], Heard(recalled=(DAY, "We rest on Friday.")))
    assert replaced([saved]) == {("old", "contradiction")}


def test_what_a_person_says_again_is_noted_though_it_was_recalled():
    heard = Heard(recalled=(DAY,), said=("remember: our release day is Thursday",))
    (event,) = decide(candidate(), [known()], heard)
    assert isinstance(event, MemoryTouched)


def test_what_the_agent_said_itself_is_not_saved():
    assert refusal(DAY, own=("As far as I know, our release day is Thursday.",)) == junk.OWN


def test_what_the_agent_said_in_full_after_a_person_hinted_at_it_may_be_saved():
    heard = Heard(own=("OK, the demo is on 5 June.",), said=("let's do it on the 5th",))
    assert isinstance(decide(candidate("The demo is on 5 June."), [], heard)[0], MemorySaved)
    asked = Heard(own=("The demo is on 5 June.",), said=("is it on the 5th?", "thanks"))
    with pytest.raises(NotWorthKeeping):
        decide(candidate("The demo is on 5 June."), [], asked)


def test_what_the_agent_proposed_may_be_saved_for_somebody_may_have_agreed():
    heard = Heard(own=("Shall our release day be Thursday?",), said=("yes",))
    assert isinstance(decide(candidate(), [], heard)[0], MemorySaved)


def test_what_stands_in_the_prompt_is_not_saved():
    prompt = "You are Atlas. The company Acme sells anvils in Norway. Be brief."
    assert refusal("Acme sells anvils in Norway.", system=(prompt,)) == junk.SYSTEM


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[status] It is Monday.", junk.SYSTEM),
        ("Call memory_recall first.", junk.SYSTEM),
        ("The assistant told Ana the day.", junk.OWN),
        ("According to memory, the day is Thursday.", junk.ECHO),
        ("thanks a lot!", junk.CHATTER),
        ("Ana asked when the release is.", junk.CHATTER),
        ("The task was completed.", junk.CHATTER),
        ("When is our release day?", junk.QUESTION),
        ("Bern", junk.SHORT),
        ("!!", junk.SHORT),
    ],
)
def test_junk_is_known_by_its_form(text, why):
    assert refusal(text) == why


@pytest.mark.parametrize(
    "text",
    [
        "No deploys on Fridays.",
        "Fine dining is Ana's hobby.",
        "The branch office is in Basel.",
        "The request limit is 10 per second.",
        "The task force is led by Ana.",
        "We offered Acme a discount of 10 %.",
        "Nothing else may be stored on the share.",
        "Acme asked whether we support single sign-on.",
        "The system prompt of the bot lies in prompts/main.md.",
        "Bo welcomed the decision to move.",
        "Hello World is the name of the demo.",
    ],
)
def test_what_only_looks_like_junk_is_saved(text):
    assert isinstance(decide(candidate(text), [], Heard())[0], MemorySaved)


def test_what_a_person_says_of_himself_is_no_restatement():
    text = "I told Bo that the release is on Friday (said by Ana)"
    assert isinstance(decide(candidate(text), [], Heard())[0], MemorySaved)


def test_a_person_at_a_terminal_may_save_anything():
    assert isinstance(decide(candidate("Bern"), [])[0], MemorySaved)


# -- corrected ----------------------------------------------------------------------------------


def test_a_correction_replaces_what_was_wrong_and_says_that_it_updates_it():
    saved, linked = correct(candidate("Our release day is Friday."), known(importance=0.8), [])
    assert replaced([saved]) == {("old", "correction")}
    assert saved.importance == 0.8
    assert (linked.relation, linked.to) == ("updates", "old")


def test_a_correction_leaves_nothing_behind_that_says_what_was_wrong():
    others = [
        known(),
        known("The release day is Thursday.", "again"),
        known("Our release day is Friday.", "right"),
        known("Ana likes tea.", "else"),
    ]
    saved, _ = correct(candidate("Our release day is Friday."), others[0], others)
    assert replaced([saved]) == {
        ("old", "correction"),
        ("again", "correction"),
        ("right", "duplicate"),
    }


FRIDAY = "Our release day is Friday."


def test_what_was_said_before_something_newer_does_not_undo_it():
    newer = known(FRIDAY, since=20)
    with pytest.raises(NotWorthKeeping, match="before old"):
        decide(candidate(said_at=10), [newer])
    assert replaced(decide(candidate(said_at=30), [newer])) == {("old", "contradiction")}
    assert replaced(decide(candidate(), [newer])) == {("old", "contradiction")}


def test_what_was_forgotten_after_it_had_been_said_stays_forgotten():
    for text in (DAY, "our release day is thursday"):
        with pytest.raises(NotWorthKeeping, match="forgotten"):
            decide(candidate(said_at=10), [], gone=[known(text)])
    (event,) = decide(candidate("We deploy on Mondays.", said_at=10), [], gone=[known()])
    assert (event.text, event.valid_from) == ("We deploy on Mondays.", 10)
