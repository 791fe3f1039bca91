"""Documents over the HTTP interface."""

from base64 import b64encode
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import msgspec

from services.cli.http import Client
from services.cli.ingesting.files import Found
from services.errors import Rejected
from services.runtime.documents import Standing


class Documents:
    """The documents of one agent."""

    def __init__(self, client: Client, agent: str) -> None:
        self._client = client
        self._agent = agent
        self._path = f"/api/v1/agents/{quote(agent, safe='')}/documents"

    def check_agent(self) -> None:
        """Make sure that there is such an agent.

        Raises:
            Rejected: names those that there are.
            Unreachable: the installation does not answer.
        """
        there = [each["id"] for each in self._client.get("/api/v1/agents")["items"]]
        if self._agent not in there:
            raise Rejected(f"there is no agent {self._agent!r}; there are: {', '.join(there)}")

    def hand_in(self, file: Found) -> Standing:
        """Send a file unless its content is known, and return how the document is.

        Raises:
            OSError: the file cannot be read.
            Rejected: it is refused, and why.
            Unreachable: it is not known whether it arrived; hand it in again.
        """
        with file.path.open("rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(0)
            digest = sha256()
            while some := opened.read(1 << 20):
                digest.update(some)
            told = {"name": file.name, "sha256": digest.hexdigest(), "size": size}
            standing = _standing(self._client.post(self._path, told))
            if standing.state != "wanted":
                return standing
            opened.seek(0)
            content = opened.read(size)
        return _standing(
            self._client.post(self._path, {**told, "content": b64encode(content).decode()})
        )

    def standing(self, document_id: str) -> Standing:
        """Return how a document is."""
        return _standing(self._client.get(f"{self._path}/{quote(document_id, safe='')}"))

    def listing(self, limit: int) -> list[dict[str, Any]]:
        """Return documents, last changed first."""
        items: list[dict[str, Any]] = []
        before: int | None = None
        while len(items) < limit:
            page = f"?limit={min(200, limit - len(items))}"
            found = self._client.get(
                self._path + page + (f"&before={before}" if before is not None else "")
            )
            items += found["items"]
            before = found["next"]
            if before is None:
                break
        return items

    def forget(self, document_id: str, reason: str) -> Standing:
        """Let nothing of a document be found any more."""
        path = f"{self._path}/{quote(document_id, safe='')}/forget"
        return _standing(self._client.post(path, {"reason": reason}))


def _standing(answer: object) -> Standing:
    return msgspec.convert(answer, Standing)
