"""Bodies by content hash: what is too large for an event is kept once, under its SHA-256."""

from collections import OrderedDict
from hashlib import sha256
from typing import Final, Protocol

import msgspec

from schemas.base import BodyRef, Content

TEXT: Final = "text/plain; charset=utf-8"
INLINE_BYTES: Final = 8_192  # longest text kept in an event: it fits into 64 KiB even as \u0001


class BodyStore(Protocol):
    """Where bodies are."""

    async def put(self, body: bytes, *, media_type: str = TEXT) -> BodyRef:
        """Keep `body` and return its reference; keeping it again changes nothing.

        Raises:
            LogUnavailable: it could not be stored.
            LogFull: there is no room for it.
        """
        ...

    async def get(self, ref: BodyRef) -> bytes:
        """Return the body, its hash checked.

        Raises:
            Permanent: there is no such body, or it is damaged.
            LogUnavailable: it could not be read now.
        """
        ...


class CachedBodies:
    """A body store that keeps what was last used; bodies never change, so it is never stale."""

    def __init__(self, store: BodyStore, *, most_bytes: int = 32 * 1024 * 1024) -> None:
        self._store = store
        self._most_bytes = most_bytes
        self._bytes = 0
        self._cached: OrderedDict[str, bytes] = OrderedDict()

    async def put(self, body: bytes, *, media_type: str = TEXT) -> BodyRef:
        """Keep `body`; see the port."""
        ref = await self._store.put(body, media_type=media_type)
        self._remember(ref.sha256, body)
        return ref

    async def get(self, ref: BodyRef) -> bytes:
        """Return the body; see the port."""
        body = self._cached.get(ref.sha256)
        if body is None:
            body = await self._store.get(ref)
        self._remember(ref.sha256, body)
        return body

    def _remember(self, sha256: str, body: bytes) -> None:
        if sha256 not in self._cached:
            self._bytes += len(body)
        self._cached[sha256] = body
        self._cached.move_to_end(sha256)
        while self._bytes > self._most_bytes and len(self._cached) > 1:
            _, dropped = self._cached.popitem(last=False)
            self._bytes -= len(dropped)


def reference(body: bytes, media_type: str = TEXT) -> BodyRef:
    """Return the reference of `body`."""
    return BodyRef(sha256=sha256(body).hexdigest(), bytes=len(body), media_type=media_type)


async def content(store: BodyStore, text: str) -> Content:
    """Return `text` itself while it is short in an event, else where it is now kept."""
    return (
        text if len(msgspec.json.encode(text)) <= INLINE_BYTES else await store.put(text.encode())
    )


async def text_of(store: BodyStore, content: Content) -> str:
    """Return the text of `content`, from the store where it is a reference."""
    if isinstance(content, str):
        return content
    return (await store.get(content)).decode(errors="replace")
