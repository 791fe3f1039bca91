"""Files that the agent sent.

GET  …/files/{seq}    the file of the `file` event with this sequence
"""

from urllib.parse import quote

from litestar import Response, get
from litestar.params import FromPath

from schemas.channel import FileSent
from services.api.faults import NotThere
from services.api.routes.scope import Parts, Place, failures


@get(
    "/files/{seq:int}",
    summary="Download a file that the agent sent",
    media_type="application/octet-stream",
    responses=failures(404, 422, 503),
)
async def download_file(place: Place, process: Parts, seq: FromPath[int]) -> Response[bytes]:
    """Return the file of the `file` event with this sequence, always as a download."""
    async for recorded in process.log.read(str(place), after=seq - 1, until=seq, fresh=True):
        if isinstance(recorded.event, FileSent):
            name = quote(recorded.event.name.rpartition("/")[2], safe="")
            return Response(
                await process.bodies.get(recorded.event.body),
                media_type="application/octet-stream",
                headers={
                    "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
                    "Content-Security-Policy": "sandbox; default-src 'none'",
                },
            )
    raise NotThere(f"the agent sent no file here under the sequence {seq}")


routes = [download_file]
