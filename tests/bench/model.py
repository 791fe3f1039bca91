"""A model server that answers at once and keeps when: `python -m tests.bench.model`.

Prints the value of `OPENAI_API_BASE`. `GET /times` returns `[key, arrived, answered]` of every
request, by the monotonic clock, and forgets them.
"""

import asyncio
import signal
import time

import msgspec

from tests.support.openai_server import Call, OpenAIServer
from tests.support.scripts import Answer

SENTENCE = "That is on its way: the release is on Thursday, the notes are in the workspace. "
ARGUMENTS = msgspec.json.encode({"text": SENTENCE * 3}).decode()


class Clocked(OpenAIServer):
    """Keeps times, not bodies."""

    def __init__(self) -> None:
        super().__init__(lambda _: Answer(tool_calls=(("reply", ARGUMENTS),)))
        self.times: list[tuple[str, float, float]] = []

    async def _answer(self, reader, writer, wire, call: Call) -> None:
        await super()._answer(reader, writer, wire, call)
        self.times.append((call.key, call.at, time.monotonic()))
        self.calls.clear()

    def _control(self, method, path, raw):
        if path != "/times":
            return super()._control(method, path, raw)
        times, self.times = self.times, []
        return 200, times


async def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Clocked() as server:
        print(server.url, flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
