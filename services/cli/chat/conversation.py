"""One conversation, spoken to over the HTTP interface."""

from typing import Final, Literal
from urllib.parse import quote

import msgspec

from schemas.subjects import FORK
from services.cli.chat.told import Page, Said, State
from services.cli.exits import NotRunning
from services.cli.http import Client
from services.cli.options import Options
from services.errors import Rejected
from services.runtime import ids, instance

EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - where others listen, not we
FORKS: Final = f"{FORK}/"
HELD: Final = "conversations"
Kind = Literal["direct", "group", "private"]
"""Who else is there: nobody, whoever comes, or the members of a group."""
AMBIGUOUS = 5  # active runs named when an id fits several


class Conversation:
    """What a person can do in a conversation."""

    def __init__(
        self,
        client: Client,
        agent: str,
        name: str,
        author: str,
        *,
        kind: Kind = "direct",
    ) -> None:
        """Take whom it is with.

        Args:
            client: Talks to the installation.
            agent: Id of the agent.
            name: Of the conversation; `fork/C` is the fork C.
            author: Who speaks.
            kind: Who else is there.
        """
        self.client = client
        self.agent = agent
        self.name = name
        self.author = author
        self.kind = kind
        of_agent = f"/api/v1/agents/{quote(agent, safe='')}"
        place, fork = ("forks", name[len(FORKS) :]) if name.startswith(FORKS) else (HELD, name)
        self.path = f"{of_agent}/{place}/{quote(fork, safe='')}"

    def say(self, text: str, message_id: str) -> int:
        """Send a message and return its sequence; the same id again is the same message.

        Raises:
            Unreachable: it is not known whether it arrived; send it again with the same id.
            Rejected: it was refused, and why.
        """
        body: dict[str, object] = {"author": self.author, "text": text, "id": message_id}
        if self.kind != "direct":
            body |= {"group": True, "private": self.kind == "private"}
        return int(self.client.post(f"{self.path}/messages", body)["seq"])

    def state(self) -> State:
        """Return how the conversation stands."""
        return msgspec.convert(self.client.get(self.path), State)

    def past(self, limit: int) -> list[Said]:
        """Return the newest of what was said, oldest first."""
        answer = self.client.get(f"{self.path}/messages?before={2**62}&limit={limit}")
        return msgspec.convert(answer, Page).items

    def cancel(self, wanted: str) -> str:
        """Ask for a run to stop and return its id.

        Args:
            wanted: An end or the beginning of its id; empty where only one is active.

        Raises:
            Rejected: none or several fit.
        """
        active = [run.run_id for run in self.state().runs]
        fitting = [id_ for id_ in active if id_.startswith(wanted) or id_.endswith(wanted)]
        if len(fitting) != 1:
            names = ", ".join(active[:AMBIGUOUS]) or "none"
            raise Rejected(f"say which one to cancel; active: {names}")
        body = {"author": self.author, "reason": "asked for at the terminal"}
        self.client.post(f"{self.path}/runs/{fitting[0]}/cancel", body)
        return fitting[0]


def new_message_id() -> str:
    """Return what makes a message recognisable when it is sent again."""
    return ids.new()


def client_of(options: Options) -> Client:
    """Return a client of the installation that is configured, or runs in the data directory.

    Raises:
        NotRunning: there is none, or it has no HTTP interface.
    """
    config = options.settings()
    if config.url is not None:
        return Client(config.url, config.token.reveal() if config.token else None)
    running = instance.find(config.data_dir)
    if running is None:
        raise NotRunning(
            f"Penstock is not running in {config.data_dir}: start it with `make up` or "
            "`penstock up`, or name another one with PENSTOCK_URL"
        )
    if running.host is None or running.port is None:
        raise NotRunning(
            "only the servers of `penstock infra` run here: start `penstock run api` and the other "
            "services, and name their interface with PENSTOCK_URL"
        )
    host = "127.0.0.1" if running.host in EVERYWHERE else running.host
    return Client.at(host, running.port, running.token)
