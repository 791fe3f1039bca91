"""Who may come in: decided by where a request is sent to, by whom, and with what credential.

Whatever is asked for, and whoever asks:

Host            on this machine (`penstock up`) a loopback name with our port, or one of
                `api.allowed_hosts`; elsewhere one of `api.allowed_hosts`, where it names any
Origin          where a browser tells it: the interface's own, or one of `api.allowed_origins`
Sec-Fetch-Site  likewise: no other site, also not one on another port of this machine; such a one
                may only link to the page
Content-Type    of a body: JSON, which a page of another site cannot send without our consent

So a page of another site reaches nothing, neither by a form, nor by a script, nor by a name of its
own that resolves to this machine. Then, for everything but `OPEN`, one of:

bearer          `Authorization: Bearer TOKEN`, with `api.token` or the token that is kept in the
                data directory
session         the cookie that the one-time link, or the token, was exchanged for
program         nothing at all, as `curl` sends it: in `penstock up` without `api.token`, from a
                loopback address, to a loopback name, where nothing tells of a browser or a proxy

Whoever puts a proxy before a local installation sets `api.token`, which ends the last of these.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal

from schemas.base import TenantId
from services.api.door.sessions import Sessions, same
from services.errors import Rejected
from services.runtime.config import ApiSettings
from services.runtime.secret import Secret

PAGE: Final = "/"
PROBES: Final = frozenset({"/healthz", "/readyz"})
OPEN: Final = PROBES | {PAGE}  # tells nothing about anyone; compared with the path as it was sent
LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
TELLTALE: Final = frozenset(
    {
        *("origin", "referer", "cookie", "sec-fetch-site", "sec-fetch-mode"),
        *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"),
    }
)


class Forbidden(Rejected):
    """The request comes from a place that may not ask."""


class Unauthorized(Rejected):
    """The request carries no valid credential."""


class NotJson(Rejected):
    """The body is not declared as JSON."""


@dataclass(frozen=True, slots=True)
class Knock:
    """What the gate looks at."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    address: str
    """Where the connection comes from; empty when that is not known."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who was let in."""

    tenant: TenantId
    by: Literal["bearer", "session", "program"]


class Gate:
    """Decides about requests; the only place that knows which tenant a caller belongs to."""

    def __init__(
        self,
        settings: ApiSettings,
        *,
        tenant: str,
        port: int,
        local: bool,
        token: Secret,
        sessions: Sessions,
    ) -> None:
        self._tenant = TenantId(tenant)
        self._local = local
        self._open_to_programs = local and settings.token is None
        self._token = token
        self._sessions = sessions
        self._own_hosts = frozenset(
            host
            for name in LOOPBACK_NAMES
            for host in (f"{name}:{port}", *((name,) if port == 80 else ()))
        )
        self._hosts = _lower(settings.allowed_hosts)
        self._origins = _lower(settings.allowed_origins)

    def admit(self, knock: Knock) -> Caller | None:
        """Return who asks; None for somebody unknown who asks for what is open to all.

        Raises:
            Forbidden: not from there, not under that name.
            Unauthorized: a credential is needed.
            NotJson: a body of another type.
        """
        self.check(knock)
        caller = self._caller(knock)
        if caller is None and knock.path not in OPEN:
            raise Unauthorized(
                "send `Authorization: Bearer TOKEN`, or sign in at the page; the token is "
                "`api.token`, or the one in the file api-token of the data directory"
            )
        return caller

    def check(self, knock: Knock) -> None:
        """Check what holds whoever asks: where a request comes from, and what it is sent to.

        Raises:
            Forbidden: not from there, not under that name.
            NotJson: a body of another type.
        """
        self._check_host(knock)
        self._check_site(knock)
        self._check_body(knock)

    def _check_host(self, knock: Knock) -> None:
        if not self._local and (not self._hosts or knock.path in PROBES):
            return
        host = knock.headers.get("host", "").lower()
        if self._local and host in self._own_hosts:
            return
        if host in self._hosts or _without_port(host) in self._hosts:
            return
        raise Forbidden(
            f"the name {host!r} is not one of this interface: use http://127.0.0.1 with its port, "
            "or add the name to api.allowed_hosts"
        )

    def _check_site(self, knock: Knock) -> None:
        origin = knock.headers.get("origin", "").lower()
        if origin in self._origins:
            return
        host = knock.headers.get("host", "").lower()
        if origin and origin not in {f"http://{host}", f"https://{host}"}:
            raise Forbidden(
                f"pages of {origin} may not use this interface; if they should, add it to "
                "api.allowed_origins"
            )
        site = knock.headers.get("sec-fetch-site", "none")
        follows_link = (
            knock.method == "GET"
            and knock.path == PAGE
            and knock.headers.get("sec-fetch-mode") == "navigate"
        )
        if site not in {"same-origin", "none"} and not follows_link:
            raise Forbidden("pages of another site may not use this interface")

    def _check_body(self, knock: Knock) -> None:
        headers = knock.headers
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if has_body and media_type != "application/json":
            raise NotJson("send JSON, and say so: `Content-Type: application/json`")

    def _caller(self, knock: Knock) -> Caller | None:
        scheme, _, presented = knock.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same(presented.strip(), self._token.reveal()):
            return Caller(self._tenant, "bearer")
        if scheme:
            return None  # a wrong token is not made good by anything else
        if self._sessions.has(knock.headers.get("cookie", "")):
            return Caller(self._tenant, "session")
        if self._is_local_program(knock):
            return Caller(self._tenant, "program")
        return None

    def _is_local_program(self, knock: Knock) -> bool:
        return (
            self._open_to_programs
            and knock.headers.get("host", "").lower() in self._own_hosts
            and TELLTALE.isdisjoint(knock.headers)
            and _is_loopback(knock.address)
        )


def _lower(names: Collection[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
