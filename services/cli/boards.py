"""Tasks and goals of an agent over the HTTP interface, and how they are shown."""

from typing import Any, Final
from urllib.parse import quote, urlencode

from services.cli import output
from services.cli.chat.conversation import client_of
from services.cli.exits import OK
from services.cli.gist import shown
from services.cli.options import Options
from services.cli.people import login

PAGE: Final = 200  # rows asked for at once


class OfAgent(Options, frozen=True, kw_only=True):
    """What every command about tasks or goals can be told."""

    agent: str = "main"


class One(OfAgent):
    """Arguments of `show` and `history`."""

    id: str


class Move(OfAgent):
    """Arguments of the commands that move one from state to state."""

    id: str
    reason: str = ""


class Comment(OfAgent):
    """Arguments of `comment`."""

    id: str
    text: str


class Client:
    """What a person at a terminal does with tasks or goals."""

    def __init__(self, options: OfAgent, what: str) -> None:
        self._http = client_of(options)
        self._path = f"/api/v1/agents/{part(options.agent)}/{what}"

    def post(self, path: str = "", **body: object) -> dict[str, Any]:
        """Change something in the name of whoever sits here; what is None is left out."""
        given = {name: value for name, value in body.items() if value is not None}
        answer: dict[str, Any] = self._http.post(self._path + path, {"author": login(), **given})
        return answer

    def get(self, name: str) -> dict[str, Any]:
        """Return one."""
        answer: dict[str, Any] = self._http.get(f"{self._path}/{part(name)}")
        return answer

    def move(self, options: Move, verb: str, **more: object) -> dict[str, Any]:
        """Move one from state to state."""
        path = f"/{part(options.id)}/state"
        return self.post(path, move=verb, reason=options.reason, **more)

    def edit(self, name: str, **changes: object) -> dict[str, Any]:
        """Change what one says; what is None stays."""
        return self.post(f"/{part(name)}/edit", **changes)

    def comment(self, options: Comment) -> dict[str, Any]:
        """Say something about one."""
        return self.post(f"/{part(options.id)}/comments", text=options.text)

    def listing(self, limit: int, path: str = "", **query: object) -> list[dict[str, Any]]:
        """Return rows, page by page, at most `limit`."""
        found: list[dict[str, Any]] = []
        given = {name: value for name, value in query.items() if value}
        while len(found) < limit:
            most = min(PAGE, limit - len(found))
            asked = urlencode({**given, "limit": most}, doseq=True)
            page = self._http.get(f"{self._path}{path}?{asked}")
            found += page["items"]
            if page["next"] is None:
                break
            given["before"] = page["next"]
        return found


def part(name: str) -> str:
    """Return a name as a part of a path."""
    return quote(name, safe="")


def history(client: Client, options: One) -> int:
    """Print revisions, oldest first: when, by whom, what, and why."""
    found = client.listing(10_000, f"/{part(options.id)}/history")
    if options.json:
        output.document(found)
        return OK
    rows = [
        (
            output.when(each["at"]),
            each["actor"],
            each["type"],
            output.one_line(_told(each["data"])),
        )
        for each in reversed(found)
    ]
    output.table(("at", "who", "what", "how"), rows)
    return OK


def _told(data: dict[str, Any]) -> str:
    """Return what an event changed, field by field."""
    left_out = {"type", "task_id", "goal_id"}
    return ", ".join(f"{name}: {shown(it)}" for name, it in data.items() if name not in left_out)


def content(text: object) -> str:
    """Return a text; one that is kept elsewhere as its size."""
    if isinstance(text, dict):
        return f"({text['bytes']:,} bytes)"
    return output.visible(str(text))
