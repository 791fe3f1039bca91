"""What browsers are told about pages of other origins: those of `api.allowed_origins` may call us.

The gate decides who comes in; this only tells browsers so, by the CORS protocol of the Fetch
standard. A page of any other origin is told nothing, so its browser keeps our answers from it.
"""

from collections.abc import Collection
from typing import Final

from services.api.door.gate import Knock

METHODS: Final = "GET, POST"
ASKED_FOR: Final = "Authorization, Content-Type, Last-Event-ID"
SHOWN: Final = "Content-Disposition, Retry-After, WWW-Authenticate"
PREFLIGHT_S: Final = 600  # so that a change of the setting is felt within ten minutes

Headers = list[tuple[bytes, bytes]]


class CrossOrigin:
    """Answers browsers for the origins that may call us."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origin.lower() for origin in origins)

    def headers(self, knock: Knock) -> Headers:
        """Return what every answer to this request carries, also one that refuses it."""
        if not self._origins:
            return []
        varies = [(b"vary", b"Origin")]
        origin = knock.headers.get("origin", "")
        if origin.lower() not in self._origins:
            return varies
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", SHOWN.encode()),
            *varies,
        ]

    def is_preflight(self, knock: Knock) -> bool:
        """Tell whether a browser asks on behalf of an allowed page whether it may ask at all."""
        return (
            knock.method == "OPTIONS"
            and "access-control-request-method" in knock.headers
            and knock.headers.get("origin", "").lower() in self._origins
        )


PERMISSION: Final[Headers] = [
    (b"access-control-allow-methods", METHODS.encode()),
    (b"access-control-allow-headers", ASKED_FOR.encode()),
    (b"access-control-max-age", str(PREFLIGHT_S).encode()),
]
"""What the answer to a preflight request says besides."""
