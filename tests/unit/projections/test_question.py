"""A question says which phrase is meant, and which time."""

from datetime import UTC, datetime

import pytest

from projections._question import phrases, spoken_of

NOW = round(datetime(2025, 3, 12, 15, 0, tzinfo=UTC).timestamp() * 1e6)  # a Wednesday


def day(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('who said "release day" first?', ["release day"]),
        ("«la vie» or “the life” or „das Leben“", ["la vie", "the life", "das Leben"]),
        ('an inch is " and that is all', []),
        ("nothing quoted", []),
    ],
)
def test_what_stands_in_quotation_marks_is_a_phrase(query, found):
    assert phrases(query) == found


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ("what was decided in May 2024?", "2024-05-01", "2024-06-01"),
        ("in December of 2024", "2024-12-01", "2025-01-01"),
        ("on 7 May 2023", "2023-05-07", "2023-05-08"),
        ("on the 7th of May 2023", "2023-05-07", "2023-05-08"),
        ("May 7th, 2023", "2023-05-07", "2023-05-08"),
        ("2023-05-07", "2023-05-07", "2023-05-08"),
        ("what happened today", "2025-03-12", "2025-03-13"),
        ("and yesterday?", "2025-03-11", "2025-03-12"),
        ("this week", "2025-03-10", "2025-03-17"),
        ("last week", "2025-03-03", "2025-03-10"),
        ("this month", "2025-03-01", "2025-04-01"),
        ("last month", "2025-02-01", "2025-03-01"),
    ],
)
def test_a_time_is_from_its_first_to_its_last_moment(query, start, end):
    assert spoken_of(query, NOW) == (day(start), day(end))


@pytest.mark.parametrize(
    "query", ["may I ask?", "in May", "31 February 2024", "2024-13-01", "99999999", "may 0000", ""]
)
def test_what_is_no_time_is_none(query):
    assert spoken_of(query, NOW) is None
