"""A comparison as people see it."""

import pytest

from services.cli.comparison import draw, heading, summary, told
from services.runtime.comparing import Asked, Came, Comparison, Parted, Row, Side, Total
from services.runtime.exchanges import Used


def came(**fields) -> Came:
    usual = {
        "asked": [Asked(author="Ana", text="what day?")],
        "replies": ["Thursday."],
        "tools": [],
        "models": ["a/one"],
        "model_calls": 1,
        "input_tokens": 1_200,
        "output_tokens": 7,
        "cost_usd": 0.25,
        "outcome": "replied",
        "took_ms": 1_500,
    }
    return Came(**{**usual, **fields})


def side(conversation="portal/general", **fields) -> Side:
    total = Total(exchanges=1, model_calls=2, tool_calls=1, tokens=1_207, cost_usd=0.25)
    return Side(
        conversation=conversation, total=total, **{"model": None, "prompt": False, **fields}
    )


def lines(**fields) -> list[str]:
    return [line for _, line in told(came(**fields))]


def test_an_exchange_is_what_was_asked_and_said_with_what_it_cost():
    assert lines() == [
        "Ana: what day?",
        "> Thursday.",
        "a/one, 1 call, 1,200 -> 7 tokens, $0.2500, 1.5 s",
    ]


def test_tools_are_named_with_what_they_were_called_with_and_how_they_ended():
    tools = [
        Used(name="shell", arguments='{"command":"make"}', status="ok"),
        Used(name="memory_save", status="refused"),
        Used(name="reply", arguments='{"text":"Thursday."}', status="ok"),
    ]
    assert ("tool", '* shell {"command":"make"} (ok)') in told(came(tools=tools))
    assert ("bad", "* memory_save  (refused)") in told(came(tools=tools))
    assert not [line for line in lines(tools=tools) if "reply" in line]


def test_only_so_many_tools_and_letters_are_shown():
    tools = [Used(name="shell", arguments="x" * 500, status="ok")] * 30
    shown = lines(tools=tools, replies=["long " * 1_000])
    assert "* 18 more tool calls" in shown
    assert max(map(len, shown)) < 2_100


def test_an_end_without_a_reply_is_said():
    assert "(failed)" in lines(outcome="failed", replies=[])
    assert ("bad", "(failed)") in told(came(outcome="failed"))
    assert lines(outcome="waiting", models=[], took_ms=None, cost_usd=None)[-1].startswith(
        "no model"
    )


def test_what_controls_a_terminal_is_not_printed():
    assert "\x1b" not in "".join(lines(replies=["\x1b[31mred"]))
    assert "\x1b" not in heading(side("fork/\x1b[1m"))


def test_a_side_says_what_is_different_and_what_it_came_to():
    assert heading(side()) == "portal/general"
    other = side("fork/there", model="a/two", prompt=True)
    assert heading(other) == "fork/there, model a/two, another prompt"
    assert summary(other) == "1 exchange, 2 model calls, 1 tool call, 1,207 tokens, $0.2500"


@pytest.mark.parametrize("left_out", [0, 3])
def test_the_table_has_both_sides_and_what_is_left_out(left_out, capsys):
    parted = Parted(events=4, id="e4", seq=40, at=1_700_000_000_000_000)
    rows = [Row(a=came(), b=came(replies=["[bold]Friday."])), Row(a=came(), b=None)]
    draw(Comparison(parted=parted, a=side(), b=side("fork/x"), rows=rows, left_out=left_out))
    out = capsys.readouterr().out
    for part in ("4 events", "event 40", "portal/general", "fork/x", "> [bold]Friday.", "nothing"):
        assert part in out
    assert ("3 exchanges more" in out) == bool(left_out)
