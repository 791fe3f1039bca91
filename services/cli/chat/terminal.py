"""A chat at a terminal: what comes is printed above the line that one writes on.

The reply that is being written stands directly above that line until it is whole; the bar below
says what runs. Everything that waits happens in threads; one event loop draws.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import FormattedText, StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.shortcuts import print_formatted_text
from prompt_toolkit.styles import Style

from services.cli import output
from services.cli.chat import lines, slash
from services.cli.chat.conversation import Conversation, new_message_id
from services.cli.chat.following import FOUND, LOST, REFUSED, Following
from services.cli.chat.told import Event, Said
from services.cli.chat.view import View
from services.cli.exits import OK
from services.errors import ServiceError
from services.runtime.clock import SystemClock

PAST: Final = 6  # lines of an earlier talk that are shown again
DRAFT_LINES: Final = 12  # of a reply that is being written; the end of it
REDRAW_S: Final = 0.5  # how often the bar counts on
LAST_S: Final = 5.0  # for what was typed just before leaving

STYLE: Final = Style.from_dict(
    {
        "you": "bold ansicyan",
        "agent": "bold ansigreen",
        "other": "bold ansimagenta",
        "draft": "ansigreen",
        "quiet": "ansibrightblack",
        "trouble": "ansired",
        "bottom-toolbar": "noreverse ansibrightblack",
    }
)


def converse(conversation: Conversation, history: Path) -> int:
    """Talk until somebody leaves, and return the exit code.

    Raises:
        ServiceError: there is no talking to it at all.
    """
    state = conversation.state()
    return asyncio.run(_Talk(conversation, state.seq, _history(history)).run())


def _history(path: Path) -> History:
    """Return the history of what was typed; in memory where it cannot be kept."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


class _Talk:
    """One person's stay in a conversation."""

    def __init__(self, conversation: Conversation, seq: int, history: History) -> None:
        self._conversation = conversation
        self._seq = seq
        self._view = View()
        self._ours: set[str] = set()
        self._typed: asyncio.Queue[str] = asyncio.Queue()
        self._session: PromptSession[str] = PromptSession(
            message=self._message,
            history=history,
            key_bindings=_keys(),
            multiline=True,
            bottom_toolbar=self._bar,
            refresh_interval=REDRAW_S,
            style=STYLE,
            prompt_continuation=lambda *_: "  ",
            enable_suspend=True,
        )

    async def run(self) -> int:
        """Talk."""
        loop = asyncio.get_running_loop()
        self._say("quiet", f"{self._conversation.agent} in {self._conversation.name}; /help helps")
        for past in await asyncio.to_thread(self._past):
            self._show_past(past)
        self._view.take_state(await asyncio.to_thread(self._conversation.state))

        def on_event(event: Event) -> None:
            loop.call_soon_threadsafe(self._take, event)

        with patch_stdout(), Following(self._conversation, self._seq, on_event):
            handling = asyncio.create_task(self._handle_in_order())
            try:
                await self._read_lines()
                await asyncio.wait_for(self._typed.join(), LAST_S)
            except TimeoutError:
                self._say("trouble", "what you wrote last may not have been sent")
            finally:
                handling.cancel()
        return OK

    async def _read_lines(self) -> None:
        """Take lines until somebody leaves; the prompt is back at once, whatever they ask for."""
        while True:
            try:
                line = (await self._session.prompt_async()).strip()
            except KeyboardInterrupt:
                self._say("quiet", "Ctrl-D or /quit leaves")
                continue
            except EOFError:
                return
            command = slash.command_of(line)
            if command is not None and command[0] in slash.LEAVING:
                return
            if line:
                self._typed.put_nowait(line)

    async def _handle_in_order(self) -> None:
        while True:
            line = await self._typed.get()
            await self._handle(line)
            self._typed.task_done()

    async def _handle(self, line: str) -> None:
        command = slash.command_of(line)
        try:
            if command is None:
                message_id = new_message_id()
                self._ours.add(message_id)
                text = slash.message_of(line)
                await asyncio.to_thread(self._conversation.say, text, message_id)
                return
            for answer in await asyncio.to_thread(slash.carry_out, self._conversation, *command):
                self._say("quiet", answer)
        except ServiceError as error:
            lost = "; what you wrote is in the history (arrow up)" if command is None else ""
            self._say("trouble", f"{output.visible(str(error))}{lost}")

    # -- what comes --------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        self._view.take(event)
        self._print(event)
        self._session.app.invalidate()

    def _print(self, event: Event) -> None:
        told = event.told
        address = f"{self._conversation.client.url}{self._conversation.path}"
        if (text := lines.said(event, address)) is not None:
            self._speak("agent", self._conversation.agent, text)
        elif event.name == "message" and told.message_id not in self._ours and told.author:
            self._speak("other", output.one_line(told.author.name), output.visible(told.text))
        elif event.name == "turn_failed" or event.name in {LOST, REFUSED}:
            text = lines.happened(event.name, told) or told.text or "the connection broke"
            self._say("trouble", output.visible(text))
        elif event.name == FOUND:
            self._say("quiet", "connected again")
        elif (text := lines.happened(event.name, told)) is not None:
            self._say("quiet", text)

    def _past(self) -> list[Said]:
        try:
            return self._conversation.past(PAST)
        except ServiceError:
            return []  # the read models are away; talk goes on without them

    def _show_past(self, said: Said) -> None:
        who = said.author.name if said.author else self._conversation.agent
        self._say("quiet", f"{output.one_line(who, 40)}: {output.one_line(said.text, 200)}")

    # -- what is drawn -----------------------------------------------------------------------

    def _speak(self, style: str, who: str, text: str) -> None:
        _print((f"class:{style}", f"{who}: "), ("", text))

    def _say(self, style: str, text: str) -> None:
        _print((f"class:{style}", text))

    def _message(self) -> StyleAndTextTuples:
        """Return what stands before the cursor: the draft of a reply, and the prompt."""
        shown: StyleAndTextTuples = []
        if self._view.draft:
            tail = "\n".join(output.visible(self._view.draft).splitlines()[-DRAFT_LINES:])
            shown += [("class:agent", f"{self._conversation.agent}: "), ("class:draft", tail)]
            shown.append(("", "\n"))
        shown.append(("class:you", "> "))
        return shown

    def _bar(self) -> str:
        return " " + self._view.bar(SystemClock().now())


def _print(*parts: tuple[str, str]) -> None:
    print_formatted_text(FormattedText(parts), style=STYLE)


def _keys() -> KeyBindings:
    """Enter sends; Alt-Enter, which terminals send as Escape and Enter, begins a new line."""
    keys = KeyBindings()

    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    bind: Callable[..., Callable[[Callable[[KeyPressEvent], None]], object]] = keys.add
    bind("enter")(send)
    bind("escape", "enter")(new_line)
    return keys
