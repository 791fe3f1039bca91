"""Bodies in a JetStream object store, written by nats-py, read through our own reader."""

import base64
from typing import Final

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ObjectMeta, ObjectStoreConfig, StorageType
from nats.js.errors import APIError, BadRequestError, Error as JetStreamError, ObjectNotFoundError
from nats.js.object_store import ObjectStore

from schemas.base import BodyRef
from services.errors import LogFull, LogUnavailable, Permanent
from services.runtime.bodies import TEXT, reference
from services.runtime.jetstream.connection import Connection, is_full
from services.runtime.jetstream.reading import Reader
from services.runtime.jetstream.replicas import keep
from services.runtime.jetstream.room import check_room

BUCKET: Final = "bodies"
STREAM: Final = f"OBJ_{BUCKET}"


class JetStreamBodies:
    """`BodyStore` on a connection; the SHA-256 is the object's name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._js = JetStreamContext(connection.client)
        self._reader = Reader(connection, STREAM)
        self._store: ObjectStore | None = None

    async def create(self, *, replicas: int = 1) -> None:
        """Make the bucket, or bring its replicas up to date; safe from many processes at once."""
        config = ObjectStoreConfig(storage=StorageType.FILE, replicas=replicas)
        try:
            self._store = await self._js.create_object_store(BUCKET, config)
        except BadRequestError:
            self._store = await self._js.object_store(BUCKET)
            await keep(self._connection, STREAM, replicas)
        except (NatsError, JetStreamError, TimeoutError) as error:
            raise LogUnavailable(f"object store: {error!r}") from error

    async def put(self, body: bytes, *, media_type: str = TEXT) -> BodyRef:
        """Keep `body`; see the port."""
        ref = reference(body, media_type)
        try:
            store = await self._bucket()
            if not await self._has(store, ref):
                await store.put(ref.sha256, body, meta=ObjectMeta(description=media_type))
        except APIError as error:
            description = error.description or repr(error)
            family = LogFull if is_full(error.err_code or 0, description) else LogUnavailable
            raise family(f"object store: {description}") from error
        except (NatsError, JetStreamError, TimeoutError) as error:
            await check_room(self._connection, STREAM)
            raise LogUnavailable(f"object store: {error!r}") from error
        return ref

    async def get(self, ref: BodyRef) -> bytes:
        """Return the body; see the port."""
        try:
            store = await self._bucket()
            info = await store.get_info(ref.sha256)
        except ObjectNotFoundError as error:
            raise Permanent(f"body {ref.sha256} is not in the store") from error
        except (NatsError, JetStreamError, TimeoutError) as error:
            raise LogUnavailable(f"object store: {error!r}") from error
        chunks = f"$O.{BUCKET}.C.{info.nuid}"
        messages = self._reader.messages(chunks, after=0, until=None, fresh=True)
        body = b"".join([chunk async for _, _, chunk in messages])
        if reference(body).sha256 != ref.sha256:
            raise Permanent(f"body {ref.sha256} is damaged: {len(body)} of {ref.bytes} bytes match")
        return body

    async def _bucket(self) -> ObjectStore:
        if self._store is None:
            self._store = await self._js.object_store(BUCKET)
        return self._store

    async def _has(self, store: ObjectStore, ref: BodyRef) -> bool:
        try:
            return bool((await store.get_info(ref.sha256)).size == ref.bytes)
        except ObjectNotFoundError:
            return False


def object_name(sha256: str) -> str:
    """Return the token under which the object store keeps the body's description."""
    return base64.urlsafe_b64encode(sha256.encode()).decode()
