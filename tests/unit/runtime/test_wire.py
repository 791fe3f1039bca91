"""Messages in one piece: the same bytes as nats-py's one by one, and nothing smuggled in."""

import pytest
from hypothesis import given, strategies as st
from nats.aio.client import Client
from nats.errors import BadSubjectError, ConnectionClosedError

from services.runtime.jetstream.wire import LeanClient, Message, encode

ANYTHING = st.text("ab:é \r\n\t\0\x85\u2028👍", max_size=12)


class Recording(Client):
    """Keeps what nats-py would write."""

    def __init__(self):
        super().__init__()
        self.written = b""

    async def _send_command(self, cmd, priority=False):
        self.written += cmd


@given(st.binary(max_size=20), st.dictionaries(st.sampled_from(["A", "Nats-Msg-Id"]), ANYTHING))
async def test_a_message_is_written_as_nats_py_writes_it(body, headers):
    client = Recording()
    await client._send_publish("evt.t.a", "inbox", body, len(body), headers or None)
    assert encode(Message("evt.t.a", body, headers, "inbox")) == client.written


async def test_a_header_cannot_bring_another_one_or_another_message():
    written = encode(
        Message("evt.t.a", b"", {"Nats-Msg-Id": "x\r\nNats-Rollup: all\r\n\r\nPUB b 0"})
    )
    assert written.count(b"\r\n") == 5  # the command, two lines of headers, their end, the body's


@pytest.mark.parametrize("subject", ["", "evt. a", "evt.a\r\nPUB b 0", "evt.a\t"])
def test_a_subject_cannot_bring_another_message(subject):
    with pytest.raises(BadSubjectError):
        encode(Message(subject, b"", {}))


async def test_nothing_is_kept_for_a_later_connection():
    client = LeanClient()
    with pytest.raises(ConnectionClosedError):
        await client.publish_whole([Message("evt.t.a", b"", {})])
    assert client.pending_data_size == 0
