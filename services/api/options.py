"""How the interface is opened: to this machine alone, or to whoever has the token."""

import secrets
from dataclasses import dataclass, field
from urllib.parse import quote

from services.runtime import private
from services.runtime.config import LOOPBACK, Config
from services.runtime.secret import Secret

TOKEN_FILE = "api-token"  # noqa: S105 - a file name


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """What `penstock up` decides and a service on its own does not."""

    local: bool = False
    """True: everything runs on this machine, for whoever sits at it; see `door.gate`."""
    link_key: str | None = field(default=None, repr=False)
    """Opens a browser session, once; None for no link."""

    def link(self, config: Config, *, whose: str = "") -> str | None:
        """Return the one-time address to print, or None; the page greets `whose` it is by name."""
        if self.link_key is None:
            return None
        suffix = f"#as={quote(whose, safe='')}" if whose else ""
        host = f"[{config.host}]" if ":" in config.host else config.host
        return f"http://{host}:{config.port}/?key={self.link_key}{suffix}"

    def is_local(self, config: Config) -> bool:
        """Tell whether only this machine can reach the interface."""
        return self.local and config.host in LOOPBACK


def local_options() -> ApiOptions:
    """Return the options of `penstock up`, with a new key at each call."""
    return ApiOptions(local=True, link_key=secrets.token_urlsafe(24))


def access_token(config: Config) -> Secret:
    """Return the bearer token: the configured one, else one made once in the data directory."""
    if config.api.token is not None:
        return config.api.token
    config.data_dir.mkdir(parents=True, exist_ok=True)
    return Secret(private.password(config.data_dir / TOKEN_FILE))
