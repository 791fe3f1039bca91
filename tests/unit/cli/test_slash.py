"""Lines that begin with a slash are for us, the others for the agent."""

import pytest

from services.cli.chat import slash
from services.cli.chat.told import Run, State
from services.errors import Rejected


class FakeConversation:
    """A conversation in which two workers run."""

    def __init__(self):
        self.cancelled = []

    def state(self):
        runs = [
            Run(run_id=run_id, kind="worker", task="build", started_at=1, status="half way")
            for run_id in ("aaaa-1111", "aaaa-2222")
        ]
        return State(seq=1, settled=False, runs=runs)

    def cancel(self, wanted):
        if not wanted:
            raise Rejected("say which one")
        self.cancelled.append(wanted)
        return wanted


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("hello", None),
        ("//etc is a path", None),
        ("/status", ("status", "")),
        ("/cancel  1111 ", ("cancel", "1111")),
    ],
)
def test_a_command_is_told_from_a_message(line, command):
    assert slash.command_of(line) == command


def test_two_slashes_send_one():
    assert slash.message_of("//etc is a path") == "/etc is a path"


def test_status_tells_what_runs():
    answers = slash.carry_out(FakeConversation(), "status", "")
    assert len(answers) == 2
    assert "half way" in answers[0]


def test_cancel_names_the_run():
    conversation = FakeConversation()
    assert "1111" in slash.carry_out(conversation, "cancel", "1111")[0]
    assert conversation.cancelled == ["1111"]


def test_an_unknown_command_is_not_sent_to_the_agent():
    (answer,) = slash.carry_out(FakeConversation(), "nope", "")
    assert "/help" in answer


def test_quit_leaves():
    with pytest.raises(slash.Quit):
        slash.carry_out(FakeConversation(), "quit", "")
