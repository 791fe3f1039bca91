"""Words that may leave: no secret, no address, no more than so many bytes."""

import json

import pytest

from schemas.run import ToolCall
from services.runtime.bodies import reference
from services.runtime.telemetry.span import Said
from services.runtime.telemetry.words import redacted, safe, said
from tests.support.fake_log import FakeBodies


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv",
        "sk-proj-AbCdEfGhIjKlMnOp",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0abcdefghijkl",
        "xoxb-1234567890-abcdefghij",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
        "ana@example.org",
    ],
)
def test_a_secret_or_an_address_is_taken_out_wherever_it_stands(secret):
    assert redacted(f"before {secret} behind") == "before [redacted] behind"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("password=hunter2!", "password=[redacted]"),
        ('{"api_key": "abcd1234"}', '{"api_key": "[redacted]"}'),
        ("Authorization: Bearer abcd.efgh", "Authorization: Bearer [redacted]"),
        ("postgresql://ana:pass@db/x", "postgresql://[redacted]@db/x"),
        ("AWS_SECRET_ACCESS_KEY=abcd", "AWS_SECRET_ACCESS_KEY=[redacted]"),
        (r'{"body": "{\"password\": \"hunter2\"}"}', r'{"body": "{\"password\": \"[redacted]\"}"}'),
        ('{"authorization": "Bearer abcd.efgh"}', '{"authorization": "[redacted]"}'),
        ("-H 'Authorization: Token abcdefgh'", "-H 'Authorization: Token [redacted]'"),
        ("Proxy-Authorization: abcdefgh", "Proxy-Authorization: [redacted]"),
        ('password = "correct horse battery"', 'password = "[redacted]"'),
        ("""{'password': "it's me"}""", """{'password': "[redacted]"}"""),
        ("passphrase: abcdefgh", "passphrase: [redacted]"),
        ('"private_key": "abcdefgh"', '"private_key": "[redacted]"'),
        ("Cookie: session=abcdefgh", "Cookie: [redacted]"),
    ],
)
def test_what_is_named_a_secret_is_taken_out_and_its_name_stays(text, left):
    assert redacted(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "the task-force met at 10:30 on 2026-01-31",
        "tokens: how many are there?",
        "see https://example.org/a/b?c=d",
        "a sketch of the sky-blue house",
        '{"password": "", "user": "ana"}',
    ],
)
def test_plain_words_stay(text):
    assert redacted(text) == text


async def test_messages_are_json_however_much_was_cut():
    calls = (ToolCall(id="s1c0", name="shell", arguments="x" * 500),)
    told = await said(Said(text="y" * 500, role="assistant", calls=calls), FakeBodies(), 100)
    (one,) = json.loads(told)
    assert one["role"] == "assistant"
    assert [part["type"] for part in one["parts"]] == ["text", "tool_call"]
    assert all(len(part.get("content") or part["arguments"]) <= 100 for part in one["parts"])


async def test_a_long_text_is_read_from_the_store_and_one_that_is_gone_is_said_to_be():
    bodies = FakeBodies()
    kept = await bodies.put(b"a long text")
    assert await said(Said(text=kept), bodies, 100) == "a long text"
    assert "cannot be read" in await said(Said(text=reference(b"gone")), bodies, 100)


async def test_a_secret_is_taken_out_before_the_cut_could_hide_what_it_is():
    text = "x" * 90 + " sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv"
    assert "sk-ant" not in await said(Said(text=text), FakeBodies(), 110)


def test_of_a_very_long_text_the_beginning_is_told_and_no_part_of_a_secret():
    text = "a@b.example " * 44 + "y" * 393 + " sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv" + "z" * 9_000
    told = safe(text, 100)
    assert len(told) <= 100
    assert "left out" in told
    assert "sk-ant" not in told


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a-",
        "sk-",
        "eyJ-",
        "a@",
        "://a:",
        "token",
        "password ",
        "token='",
        'token=\\\\\\"',
        "authorization: a ",
    ],
)
def test_no_text_makes_redaction_slow(piece):
    text = piece * (40_000 // len(piece))
    assert len(redacted(text)) <= 2 * len(text)
