"""Take in what people drop into the folders, and put the files away once their fate is known.

Everything is found out anew at each look, so nothing is lost by a crash in the middle: a file that
was handed in already is known by its content, and is put away when it has been read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from mimetypes import guess_type
from typing import Final

import structlog

from services.errors import Rejected, Transient
from services.ingest.folder import Dropped, Folder, Mark
from services.runtime.documents import Documents, Standing
from services.runtime.text import clean

BY: Final = "ingest folder"
LINK: Final = "it is a link, and links are not followed: put the file itself here"
SPECIAL: Final = "it is not a file"

log = structlog.get_logger()


class Watch:
    """Looks into the folders of all agents."""

    def __init__(self, documents: Documents, tenant: str, folders: Mapping[str, Folder]) -> None:
        self._documents = documents
        self._tenant = tenant
        self._folders = folders
        self._seen: dict[str, dict[str, Mark]] = {}
        """What the last look found, by agent and path."""
        self._waiting: dict[tuple[str, str], tuple[Mark, Standing]] = {}
        """What was handed in and is being read."""

    async def run(
        self,
        pause: Callable[[float], Awaitable[None]],
        stopping: asyncio.Event,
        every_s: float,
    ) -> None:
        """Look every `every_s`, until stopped."""
        while not stopping.is_set():
            try:
                for folder in self._folders.values():
                    await asyncio.to_thread(folder.prepare)
                await self.run_once()
            except (Transient, OSError) as error:
                log.warning("ingest.folder_skipped", reason=str(error))
            await pause(every_s)

    async def run_once(self) -> None:
        """Look into each folder once.

        Raises:
            Transient: the log is away or full; everything stays where it is.
            OSError: a folder cannot be read.
        """
        for agent, folder in self._folders.items():
            found = await asyncio.to_thread(folder.dropped)
            before = self._seen.get(agent, {})
            self._seen[agent] = {each.path: each.mark for each in found}
            for each in found:
                if before.get(each.path) != each.mark:
                    continue
                try:
                    await self._settle(agent, folder, each)
                except OSError as error:  # the others have nothing to do with it
                    log.warning("ingest.file_skipped", file=clean(each.path), reason=str(error))

    async def _settle(self, agent: str, folder: Folder, dropped: Dropped) -> None:
        """Hand in a file that does not change any more, and put it away when it has been read."""
        try:
            standing = await self._standing(agent, folder, dropped)
        except Rejected as error:
            refused = str(error)
        except PermissionError as error:
            refused = f"it may not be read: {error.strerror}"
        else:
            if standing is None or not standing.is_settled:
                return
            refused = standing.detail if standing.state == "refused" else ""
        self._waiting.pop((agent, dropped.path), None)
        if refused:
            moved = await asyncio.to_thread(folder.file_refused, dropped, refused)
        else:
            moved = await asyncio.to_thread(folder.file_done, dropped)
        if moved is not None:
            log.info("ingest.filed", agent=agent, file=clean(moved), refused=refused or None)

    async def _standing(self, agent: str, folder: Folder, dropped: Dropped) -> Standing | None:
        """Hand the file in unless that was done; None when it has changed just now."""
        documents, size = self._documents, dropped.mark.size
        if dropped.kind != "file":
            is_link = dropped.kind == "link"
            return await documents.refuse(
                self._tenant,
                agent,
                dropped.path,
                reason="link" if is_link else "not_a_file",
                detail=LINK if is_link else SPECIAL,
                by=BY,
            )
        mark, known = self._waiting.get((agent, dropped.path), (None, None))
        if known is not None and mark == dropped.mark:
            return await documents.standing(self._tenant, agent, known.document_id)
        if size > documents.most_bytes:
            return await documents.too_large(
                self._tenant, agent, dropped.path, sha256=None, size=size, by=BY
            )
        content = await asyncio.to_thread(folder.read, dropped)
        if content is None:
            return None
        media_type = guess_type(dropped.path)[0] or "application/octet-stream"
        standing = await documents.take(
            self._tenant, agent, dropped.path, content, media_type=media_type, by=BY
        )
        self._waiting[agent, dropped.path] = dropped.mark, standing
        return standing
