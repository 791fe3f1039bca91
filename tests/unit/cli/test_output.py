"""What is printed can be read by people and by programs, and controls no terminal."""

import json

import pytest

from services.cli import output
from services.runtime.secret import Secret


def test_a_text_from_outside_cannot_control_the_terminal():
    assert output.visible("a\x1b[31mred\x07\x9b2J\u202eb\r\nc\td") == "a�[31mred��2J�b\nc\td"


def test_a_text_on_one_line_is_cut_with_a_mark():
    assert output.one_line("one\n  two\tthree") == "one two three"
    assert output.one_line("x" * 50, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0.4, "0 ms"),
        (999, "999 ms"),
        (1_500, "1.5 s"),
        (61_000, "1 min 1 s"),
        (3_600_000, "1 h 0 min"),
        (200_000_000, "2 days 7 h"),
    ],
)
def test_a_duration_reads_as_people_say_it(ms, said):
    assert output.duration(ms) == said


def test_columns_are_aligned(capsys):
    output.table(("name", "n"), [("a", 1), ("longer", 22)])
    assert capsys.readouterr().out == "name    n\na       1\nlonger  22\n"


def test_a_document_is_one_line_in_a_pipe_and_holds_no_secret(capsys):
    output.document({"token": Secret("swordfish"), "n": 1})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"token": "***", "n": 1}
    assert printed.count("\n") == 1


def test_money_has_the_digits_that_a_model_call_needs():
    assert [output.money(usd) for usd in (0, 0.00123, 2.5)] == ["$0", "$0.0012", "$2.50"]
