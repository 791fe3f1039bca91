"""A batch folds to one change a row, and its texts to what PostgreSQL can store."""

import msgspec
import pytest
from hypothesis import given, strategies as st

from projections._sql import load
from projections._statement import Insert, Merge, Statement, fold, storable, to_json

MERGE = Merge("things", key=("id",), first=("born",), last=("state",))


def test_a_later_value_replaces_the_earlier_one_except_in_first_columns():
    folded = fold(
        [
            Statement(MERGE, {"id": 1, "born": 10, "state": "new"}),
            Statement(MERGE, {"id": 2, "born": 11}),
            Statement(MERGE, {"id": 1, "born": 12, "state": "old"}),
        ]
    )
    assert list(folded[MERGE].values()) == [
        {"id": 1, "born": 10, "state": "old"},
        {"id": 2, "born": 11},
    ]


def test_none_says_nothing():
    folded = fold(
        [
            Statement(MERGE, {"id": 1, "born": None, "state": "new"}),
            Statement(MERGE, {"id": 1, "born": 12, "state": None}),
        ]
    )
    assert list(folded[MERGE].values()) == [{"id": 1, "born": 12, "state": "new"}]


def test_a_row_that_never_changes_is_taken_once():
    insert = Insert("", key=("tenant", "id"))
    row = {"tenant": "a", "id": 1, "text": "first"}
    folded = fold([Statement(insert, row), Statement(insert, {**row, "text": "again"})])
    assert list(folded[insert].values()) == [row]


@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": st.integers(0, 2)},
            optional={
                "born": st.none() | st.integers(),
                "state": st.none() | st.text(max_size=2),
            },
        ),
        max_size=12,
    ),
    st.integers(0, 12),
)
def test_where_a_batch_is_cut_makes_no_difference(rows, cut):
    def folded(part):
        result = fold(Statement(MERGE, dict(row)) for row in part)
        return list(result.get(MERGE, {}).values())

    def without_nothing(some):
        return {
            row["id"]: {name: value for name, value in row.items() if value is not None}
            for row in some
        }

    in_two = [*folded(rows[:cut]), *folded(rows[cut:])]
    assert without_nothing(folded(in_two)) == without_nothing(folded(rows))


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("a\x00b", "a\ufffdb"),
        ("\\u0000 spelled out", "\\u0000 spelled out"),
        ("both \x00 and \\u0000", "both \ufffd and \\u0000"),
        ("plain", "plain"),
    ],
)
def test_nul_is_replaced_and_nothing_else(text, stored):
    rows = [{"text": text, "deep": [{"text": text}]}]
    assert msgspec.json.decode(to_json(rows)) == [{"text": stored, "deep": [{"text": stored}]}]
    assert storable(text) == stored


def test_statements_are_found_by_the_name_above_them():
    assert set(load("agents.sql")) == {"create", "index", "listing", "one"}
    assert load("agents.sql")["one"].startswith("SELECT")
