"""Disposable folds in a JetStream key-value bucket, the newest of each key only."""

from typing import Final

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig, StorageType
from nats.js.errors import BadRequestError, Error as JetStreamError, KeyNotFoundError
from nats.js.kv import KeyValue

from services.errors import LogUnavailable
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.replicas import keep

BUCKET: Final = "snapshots"
KEPT_S: Final = 30 * 24 * 3_600  # a snapshot that nobody renewed is not worth its space
LARGEST_BYTES: Final = 900_000  # below the server's limit of a message


class JetStreamSnapshots:
    """`Snapshots` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._js = JetStreamContext(connection.client)
        self._bucket: KeyValue | None = None

    async def create(self, *, replicas: int = 1) -> None:
        """Make the bucket, or bring its replicas up to date; safe from many processes at once."""
        config = KeyValueConfig(
            bucket=BUCKET, history=1, ttl=KEPT_S, storage=StorageType.FILE, replicas=replicas
        )
        try:
            self._bucket = await self._js.create_key_value(config)
        except BadRequestError:
            self._bucket = await self._js.key_value(BUCKET)
            await keep(self._connection, f"KV_{BUCKET}", replicas)
        except (NatsError, JetStreamError, TimeoutError) as error:
            raise LogUnavailable(f"snapshots: {error!r}") from error

    async def load(self, key: str) -> bytes | None:
        """Return what was saved last; None also when it cannot be read now."""
        try:
            bucket = self._bucket or await self._js.key_value(BUCKET)
            return (await bucket.get(key)).value
        except KeyNotFoundError:
            return None
        except (NatsError, JetStreamError, TimeoutError, OSError):
            return None

    async def save(self, key: str, value: bytes) -> None:
        """Keep `value`, if it can be kept."""
        if len(value) > LARGEST_BYTES:
            return
        try:
            bucket = self._bucket or await self._js.key_value(BUCKET)
            await bucket.put(key, value)
        except (NatsError, JetStreamError, TimeoutError, OSError):
            return
