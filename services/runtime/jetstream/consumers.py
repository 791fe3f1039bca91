"""How far behind the durable consumers of a stream are."""

from typing import Final

import msgspec

from services.runtime.jetstream.connection import Connection, check

PAGE: Final = 256  # what the server lists at once


class _Config(msgspec.Struct, frozen=True):
    durable_name: str = ""


class _Consumer(msgspec.Struct, frozen=True):
    config: _Config
    num_pending: int = 0
    num_ack_pending: int = 0


class _Listing(msgspec.Struct, frozen=True):
    consumers: list[_Consumer] = []
    total: int = 0


async def lags(connection: Connection, stream: str) -> dict[str, int]:
    """Return the events that each durable consumer has not acknowledged, delivered or not.

    Raises:
        LogUnavailable: the server does not answer.
    """
    subject = f"$JS.API.CONSUMER.LIST.{stream}"
    found: dict[str, int] = {}
    offset, total = 0, 1
    while offset < total:
        message = await connection.request(subject, msgspec.json.encode({"offset": offset}))
        check(subject, message)
        listing = msgspec.json.decode(message.data, type=_Listing)
        for each in listing.consumers:
            if each.config.durable_name:
                found[each.config.durable_name] = each.num_pending + each.num_ack_pending
        offset, total = offset + PAGE, listing.total
    return found
