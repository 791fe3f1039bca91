"""`penstock chat`: talk to an agent, with one message, through a pipe, or for a while."""

import sys

from services.cli.chat import slash
from services.cli.chat.conversation import Conversation, client_of
from services.cli.chat.once import Exchange
from services.cli.exits import OK, Misused
from services.cli.options import Options
from services.cli.people import login


class Chat(Options):
    """Arguments of `chat`."""

    message: str | None = None
    conversation: str = "terminal"
    agent: str = "main"
    author: str | None = None
    group: bool = False
    private: bool = False
    timeout: float = 300.0


def chat(options: Chat) -> int:
    """Talk until there is nothing more to say."""
    conversation = Conversation(
        client_of(options),
        options.agent,
        options.conversation,
        options.author or login(),
        kind="private" if options.private else "group" if options.group else "direct",
    )
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    exchange = Exchange(
        conversation,
        timeout_s=options.timeout,
        as_json=options.json,
        drafts=sys.stdout.isatty() and not options.json,
    )
    if options.message is not None:
        return exchange.say(options.message)
    if not is_terminal:
        return _pipe(conversation, exchange)
    if options.json:
        raise Misused("--json is for -m and for pipes, not for a chat at a terminal")
    from services.cli.chat.terminal import converse  # noqa: PLC0415 - prompt_toolkit is heavy

    history = options.settings().data_dir / "chat_history"
    return converse(conversation, history)


def _pipe(conversation: Conversation, exchange: Exchange) -> int:
    """Send every line of standard input, each when the one before has settled."""
    code = OK
    for raw in sys.stdin:
        line = raw.strip()
        if not line:
            continue
        command = slash.command_of(line)
        try:
            if command is None:
                code = exchange.say(slash.message_of(line)) or code
                continue
            for answer in slash.carry_out(conversation, *command):
                print(answer, flush=True)
        except slash.Quit:
            break
    return code
