"""What an agent has in mind: what is shown of it, in which order, and within which room."""

from datetime import UTC, datetime

import msgspec
import pytest

from projections.activity import Place
from schemas.cortex import BriefingWritten, DaySummarised, Layer, Line
from services.cortex.layers import TEXT_CHARS, Material, compose, fit
from services.runtime import days
from services.runtime.briefings import BYTES_PER_TOKEN
from services.runtime.config import CortexSettings
from tests.support.happenings import HOUR, NOW, happening

BERLIN = days.zone("Europe/Berlin")


def summary(day, *lines, messages=0, conversations=0) -> DaySummarised:
    told = tuple(line if isinstance(line, Line) else Line(text=line) for line in lines)
    begin = days.begin(datetime.fromisoformat(day).date(), UTC)
    return DaySummarised(
        day=day,
        zone="UTC",
        begin=begin,
        until=begin + 24 * HOUR,
        messages=messages,
        conversations=conversations,
        lines=told,
    )


def briefing(settings=None, **material) -> BriefingWritten:
    nothing = {
        "identity": (),
        "memories": (),
        "synthesis": None,
        "summaries": (),
        "today": (),
        "places": (),
    }
    made = Material(now=NOW, **{"zone": UTC, **nothing, **material})
    return compose(made, settings or CortexSettings())


def layer(name, **material) -> Layer | None:
    found = briefing(**material).layers
    return next((layer for layer in found if layer.name == name), None)


def texts(name, **material) -> list[str]:
    found = layer(name, **material)
    return [line.text for line in found.lines] if found else []


def test_who_knows_nothing_has_nothing_in_mind():
    assert briefing() == BriefingWritten(layers=())


def test_identity_comes_first_and_is_not_said_again_among_what_is_known():
    own = happening("Atlas looks after releases", memory_kind="identity", ref="m1")
    other = happening("the day is Thursday", ref="m2")
    made = briefing(identity=[own], memories=[own, other])
    assert [(layer.name, [line.text for line in layer.lines]) for layer in made.layers] == [
        ("identity", ['identity: "Atlas looks after releases"']),
        ("knowledge", ['fact: "the day is Thursday"']),
    ]


def test_what_changes_often_stands_behind_what_changes_seldom():
    row = happening("the day is Thursday")
    made = briefing(
        identity=[happening("Atlas", memory_kind="identity", ref="m0")],
        memories=[row],
        summaries=[summary("2026-11-23", "was"), summary("2026-11-20", "was before")],
        today=[row],
        places=[Place(adapter="a", conversation="b", said_at=NOW, said_by="Ana", said="hi")],
    )
    names = [layer.name for layer in made.layers]
    assert names == ["identity", "knowledge", "week", "yesterday", "today", "channels"]


def test_a_synthesis_replaces_the_list():
    row = happening("the day is Thursday")
    said = texts("knowledge", memories=[row], synthesis="- One.\n\n## Two\n* Three.")
    assert said == ["One.", "Two", "Three."]


def test_today_is_told_in_the_order_in_which_it_happened_with_local_times():
    today = [
        happening("b", kind="worker", hours_ago=1, ref="w2", outcome="failed"),
        happening("a", kind="memory", hours_ago=2, ref="m1"),
    ]
    told = layer("today", today=today, zone=BERLIN)
    assert [line.text for line in told.lines] == [
        '14:30 remembered, fact: "a"',
        '15:30 discord/ops: a worker failed: "b"',
    ]
    assert told.day == "2026-11-24"


def test_today_is_the_local_day():
    late = {"now": round(datetime(2026, 11, 24, 23, 30, tzinfo=UTC).timestamp()) * 1_000_000}
    row = happening("a")
    nothing = dict.fromkeys(("identity", "memories", "summaries", "places"), ())
    made = compose(
        Material(**late, **nothing, zone=BERLIN, synthesis=None, today=[row]), CortexSettings()
    )
    assert made.layers[0].day == "2026-11-25"


def test_without_room_the_oldest_of_today_are_left_out_and_counted():
    rows = [happening(f"thing {n}", ref=f"m{n}", hours_ago=n) for n in range(1, 6)]
    line = len(b'14:30 remembered, fact: "thing 1"') + 3
    settings = CortexSettings(today_tokens=-(-2 * line // BYTES_PER_TOKEN))
    told = layer("today", today=rows, settings=settings)
    assert [line.text[-9:] for line in told.lines] == ['"thing 2"', '"thing 1"']
    assert told.left_out == 3


def test_what_repeats_is_told_once_with_how_often():
    row = {"kind": "file", "text": "plan.pdf", "hours_ago": 1}
    told = texts("today", today=[happening(ref=f"e{n}", **row) for n in range(3)])
    assert told == ['14:30 discord/ops: sent the file "plan.pdf" (3 times)']


def test_yesterday_and_the_five_days_before_it_are_told_apart():
    summaries = [summary(f"2026-11-{day}", f"on {day}") for day in range(16, 25)]
    assert texts("yesterday", summaries=summaries) == ["on 23"]
    assert texts("week", summaries=summaries) == [
        f"2026-11-{day}: on {day}" for day in (22, 21, 20, 19, 18)
    ]


def test_a_day_of_the_week_is_told_in_few_lines():
    summaries = [summary("2026-11-22", "one", "two", "three", messages=4, conversations=1)]
    assert texts("week", summaries=summaries) == [
        "2026-11-22: 4 messages in 1 open conversation",
        "2026-11-22: one",
        "2026-11-22: two",
    ]


def test_what_is_forgotten_is_not_told_of_the_days_either():
    lines = (Line(text="secret", memory_id="m1"), Line(text="known", memory_id="m2"))
    summaries = [summary("2026-11-23", *lines), summary("2026-11-21", *lines)]
    assert texts("yesterday", summaries=summaries, gone={"m1"}) == ["known"]
    assert texts("week", summaries=summaries, gone={"m1"}) == ["2026-11-21: known"]


def test_other_conversations_are_told_with_who_said_what():
    places = [Place(adapter="discord", conversation="ops", said_at=1, said_by="Ana", said="hi all")]
    told = layer("channels", places=places)
    assert [(line.text, line.conversation) for line in told.lines] == [
        ('discord/ops: "Ana" said "hi all"', "discord/ops")
    ]


@pytest.mark.parametrize(
    "text",
    [
        'ends " the quotes',
        "new\n## Line\n- and list",
        "\u202eright to left\x1b[31m",
        "\u2028separated",
        "x" * 5_000,
        "word " * 2_000,
    ],
)
def test_what_people_wrote_stays_one_quoted_line(text):
    rows = [happening(text, ref=f"r{kind}", kind=kind) for kind in ("memory", "worker", "file")]
    place = Place(adapter="a", conversation=text, said_at=1, said_by=text, said=text)
    made = briefing(
        memories=rows[:1], today=rows, places=[place], settings=CortexSettings(today_tokens=1_000)
    )
    lines = [line.text for layer in made.layers for line in layer.lines]
    assert len(lines) == 5
    for line in lines:
        assert not any(ord(char) < 32 or char in "\u2028\u202e" for char in line)
        assert line.count('"') in {2, 4}
        assert len(line) < 4 * TEXT_CHARS


def test_of_each_person_the_most_important_that_everybody_may_know_is_told():
    memories = [
        happening("the day is Thursday", who="portal:ana", ref="m0"),
        happening("leads releases", who="portal:ana", ref="m1", memory_kind="identity"),
        happening("likes tea", who="portal:ana", ref="m2", memory_kind="preference"),
        happening("is new", who="portal:ben", ref="m3", memory_kind="identity"),
        happening("todo", who="portal:cem", ref="m4", memory_kind="todo"),
    ]
    told = [(known.person, known.line.text) for known in briefing(memories=memories).people]
    assert told == [
        ("portal:ana", 'identity: "leads releases"'),
        ("portal:ben", 'identity: "is new"'),
    ]


def test_a_layer_without_room_is_left_out():
    settings = CortexSettings(knowledge_tokens=0)
    assert briefing(settings=settings, memories=[happening("a")]).layers == ()


def test_no_layer_is_larger_than_its_budget():
    rows = [happening("word " * 30, ref=f"m{n}") for n in range(100)]
    for tokens in (1, 20, 100, 400):
        settings = CortexSettings(knowledge_tokens=tokens, today_tokens=tokens)
        for each in briefing(settings=settings, memories=rows, today=rows).layers:
            size = sum(len(f"- {line.text}\n".encode()) for line in each.lines)
            assert size <= tokens * BYTES_PER_TOKEN


def test_bytes_are_counted_and_not_characters():
    kept, left_out = fit([Line(text="東" * 10), Line(text="a")], 9)
    assert (len(kept), left_out) == (1, 1)


def test_the_largest_briefing_there_can_be_fits_into_an_event():
    tokens = {f"{name}_tokens": 1_000 for name in ("identity", "knowledge", "week", "yesterday")}
    settings = CortexSettings(**tokens, today_tokens=1_000, channels_tokens=1_000)
    hard = "\\'" * 100
    rows = [happening(hard, ref=f"m{n}", who=f"p{n}", memory_kind="identity") for n in range(200)]
    summaries = [
        summary(f"2026-11-{day}", *(Line(text=hard, memory_id="m" * 36) for _ in range(50)))
        for day in range(16, 24)
    ]
    places = [
        Place(adapter="a", conversation=f"{n}{hard}", said_at=1, said_by=hard, said=hard)
        for n in range(10)
    ]
    made = briefing(
        settings=settings,
        identity=rows,
        memories=rows,
        today=rows,
        summaries=summaries,
        places=places,
    )
    assert len(msgspec.json.encode(made)) < 64_000
