"""The catalogue of events is generated, current and complete."""

import inspect
import re
import runpy
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import schemas.__main__
from schemas import channel
from schemas.__main__ import catalogue
from schemas.base import Event
from schemas.catalogue import EVENTS, MODULES
from schemas.envelope import tag_of

DOCUMENT = Path(__file__).parents[3] / "docs" / "events.md"


def test_the_document_is_what_the_command_writes(capsys):
    runpy.run_path(schemas.__main__.__file__, run_name="__main__")
    renew = "python -m schemas > docs/events.md"
    assert DOCUMENT.read_text(encoding="utf-8") == capsys.readouterr().out, f"renew it: {renew}"


@pytest.mark.parametrize("tag", EVENTS)
def test_every_event_is_in_the_catalogue_with_its_sentence_and_fields(tag):
    _, _, rest = catalogue().partition(f"### `{tag}` ")
    section, _, _ = rest.partition("\n#")
    event = EVENTS[tag]
    assert inspect.getdoc(event).split("\n")[0] in section
    for field in msgspec.structs.fields(event):
        assert f"| `{field.name}` | " in section


def test_fields_are_told_with_default_unit_and_meaning():
    text = catalogue()
    assert "| `latency_ms` | `Milliseconds` | `0` | Milliseconds. |" in text
    told = "Platform id of the message that this one answers."
    assert f"| `reply_to` | `str \\| None` | `null` | {told} |" in text


def test_every_module_tells_subject_order_and_writer():
    for module in MODULES:
        facts = inspect.getdoc(module)
        assert all(f"\n{word}:" in facts for word in ("Subject", "Order", "Writer"))


@pytest.mark.parametrize("tag", EVENTS)
def test_a_tag_is_the_snake_case_of_its_class_in_the_past_tense(tag):
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", EVENTS[tag].__name__).lower()
    assert tag == words


def test_every_event_of_a_module_is_in_its_union():
    for module, union in MODULES.items():
        defined = {
            value
            for value in vars(module).values()
            if inspect.isclass(value) and issubclass(value, Event) and value is not Event
        }
        assert defined == {*get_args(union)}


def test_tags_are_unique():
    assert len(EVENTS) == sum(len(get_args(union)) for union in MODULES.values())


def test_each_module_decodes_its_own_events():
    for module in MODULES:
        name = module.__name__.rpartition(".")[2]
        decoder = getattr(module, f"{name.upper()}_EVENTS")
        assert isinstance(decoder, msgspec.json.Decoder)
    reply = channel.ReplySent(turn_id="t", text="hi")
    assert channel.CHANNEL_EVENTS.decode(msgspec.json.encode(reply)) == reply
    assert tag_of(reply) == "reply_sent"


def test_events_are_immutable():
    with pytest.raises(AttributeError):
        channel.RetryRequested(turn_id="t").turn_id = "u"
