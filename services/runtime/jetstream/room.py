"""Is it the disk? A server that cannot write an event does not answer it, and so looks absent."""

import msgspec

from services.errors import LogFull, LogUnavailable
from services.runtime.jetstream.connection import Connection, Reply, is_full


class _Cluster(msgspec.Struct, frozen=True):
    """Where a stream is kept."""

    name: str = ""
    """Empty for a server on its own."""


class _Info(msgspec.Struct, frozen=True):
    """What there is to know of a stream."""

    config: msgspec.Raw = msgspec.Raw(b"null")
    cluster: _Cluster = _Cluster()


async def check_room(connection: Connection, stream: str) -> None:
    """Make sure that an append to `stream` which got no answer did not fail for want of disk.

    A server on its own is asked to write down the stream's configuration as it is: the one request
    that changes nothing and is answered with the reason why nothing can be written. In a cluster
    that would be a vote of all its servers, in the middle of their trouble, so nobody is asked.

    Raises:
        LogFull: the server says that there is no space left.
    """
    try:
        answer = await connection.request(f"$JS.API.STREAM.INFO.{stream}", b"")
        info = msgspec.json.decode(answer.data, type=_Info)
        if info.cluster.name or bytes(info.config) == b"null":
            return
        answer = await connection.request(f"$JS.API.STREAM.UPDATE.{stream}", bytes(info.config))
    except LogUnavailable:
        return
    error = msgspec.json.decode(answer.data, type=Reply).error
    if error is not None and is_full(error.err_code, error.description):
        raise LogFull(f"{stream}: {error.description}")
