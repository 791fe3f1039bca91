"""Keep a bucket as often as the log is kept, also when that was changed after it was made."""

from typing import Any

import msgspec

from services.runtime.jetstream.connection import Connection, check


class _Info(msgspec.Struct, frozen=True):
    """What there is to know of a stream."""

    config: dict[str, Any]


async def keep(connection: Connection, stream: str, replicas: int) -> None:
    """Make sure that there are `replicas` copies of a stream that is there.

    Raises:
        LogUnavailable: JetStream does not answer.
        JetStreamRefused: it cannot keep so many.
    """
    subject = f"$JS.API.STREAM.INFO.{stream}"
    answer = await connection.insist(lambda: connection.request(subject, b""))
    check(subject, answer)
    config = msgspec.json.decode(answer.data, type=_Info).config
    if config["num_replicas"] != replicas:
        wanted = msgspec.json.encode({**config, "num_replicas": replicas})
        await connection.ask(f"$JS.API.STREAM.UPDATE.{stream}", wanted)
