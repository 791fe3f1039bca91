"""Projections are pure, take every event there is, and leave the unknown to the archive."""

import pytest

from projections.registry import BY_NAME, PROJECTIONS
from schemas.catalogue import EVENTS
from tests.support.stories import Story

TOLD = Story(7).tell(6_000)


def test_the_story_has_every_event_there_is():
    assert set(EVENTS) <= {recorded.envelope.type for recorded in TOLD if recorded.event}


@pytest.mark.parametrize("name", BY_NAME)
def test_the_same_event_gives_the_same_rows(name):
    project = BY_NAME[name].project
    assert [list(project(each)) for each in TOLD] == [list(project(each)) for each in TOLD]


@pytest.mark.parametrize("name", BY_NAME)
def test_a_row_has_a_key_and_known_targets(name):
    projection = BY_NAME[name]
    for recorded in TOLD:
        for statement in projection.project(recorded):
            assert statement.into in projection.targets


def test_what_cannot_be_read_is_in_the_archive_alone():
    unreadable = [recorded for recorded in TOLD if recorded.event is None]
    assert unreadable
    for recorded in unreadable:
        assert {p.name for p in PROJECTIONS if list(p.project(recorded))} == {"archive"}


def test_names_are_for_ever():
    assert tuple(BY_NAME) == (
        "archive",
        "conversations",
        "runs",
        "memories",
        "agents",
        "dead_letters",
        "people",
        "persistence",
        "activity",
        "passages",
        "tasks",
        "goals",
        "jobs",
    )
