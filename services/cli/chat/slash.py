"""Lines of a chat that are for us and not for the agent."""

from typing import Final

from services.cli.chat import lines
from services.cli.chat.conversation import Conversation
from services.runtime.clock import SystemClock

HELP: Final = """\
/status       what runs in this conversation
/cancel ID    stop a branch or a worker; the end of its id is enough
/help         this list
/quit         leave, as Ctrl-D does; what runs goes on
Enter sends; Alt-Enter (or Esc, then Enter) begins a new line. A line that begins with //
is sent without the first of them."""


LEAVING: Final = frozenset({"quit", "exit", "q"})


class Quit(Exception):
    """Leave the chat."""


def command_of(line: str) -> tuple[str, str] | None:
    """Return the command on a line and its argument, or None where the line is a message."""
    if not line.startswith("/") or line.startswith("//"):
        return None
    command, _, argument = line[1:].partition(" ")
    return command, argument.strip()


def message_of(line: str) -> str:
    """Return what is to be sent for a line that is no command."""
    return line[1:] if line.startswith("//") else line


def carry_out(conversation: Conversation, command: str, argument: str) -> list[str]:
    """Do what a command says and return what to answer, line by line.

    Raises:
        Quit: somebody leaves.
        ServiceError: it could not be done.
    """
    match command:
        case leaving if leaving in LEAVING:
            raise Quit
        case "help" | "?":
            return HELP.splitlines()
        case "status":
            return lines.standing(conversation.state(), SystemClock().now())
        case "cancel":
            return [f"Asked {conversation.cancel(argument)} to stop."]
        case _:
            return [f"/{command} is not a command; /help lists them."]
