"""Browser sessions: a signed cookie, and the key of the link that gives one.

A cookie is valid until its time, or until the token changes. Nothing is stored, so a session
outlives a restart and is known to every replica.
"""

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Final

from services.runtime.clock import Clock
from services.runtime.secret import Secret

SESSION_S: Final = 30 * 86_400  # somebody who comes once a month signs in once
PURPOSE: Final = b"penstock session"  # so that the token itself signs nothing


class Sessions:
    """Gives sessions and knows them again."""

    def __init__(self, token: Secret, port: int, clock: Clock) -> None:
        # Browsers keep one jar for all ports of a host: the name keeps installations apart.
        self._name = f"penstock_{port}"
        self._key = hmac.digest(token.reveal().encode(), PURPOSE, "sha256")
        self._clock = clock

    def cookie(self, *, secure: bool) -> str:
        """Return the `Set-Cookie` value of a new session.

        Args:
            secure: Whether the browser speaks TLS to us.
        """
        expires = str(self._now() + SESSION_S)
        value = f"{expires}.{self._signature(expires)}"
        kept = f"Path=/; Max-Age={SESSION_S}; HttpOnly; SameSite=Strict"
        return f"{self._name}={value}; {kept}{'; Secure' if secure else ''}"

    def has(self, cookies: str) -> bool:
        """Tell whether a `Cookie` header carries a session of ours."""
        try:
            morsel = SimpleCookie(cookies).get(self._name)
        except CookieError:
            return False
        if morsel is None:
            return False
        expires, _, signature = morsel.value.partition(".")
        genuine = same(signature, self._signature(expires))
        return genuine and expires.isdecimal() and int(expires) > self._now()

    def _signature(self, expires: str) -> str:
        return hmac.digest(self._key, expires.encode(), "sha256").hex()

    def _now(self) -> int:
        return self._clock.now() // 1_000_000


class OneTimeKey:
    """Opens one session; None opens none."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def use(self, presented: str) -> bool:
        """Tell whether this is the key, and spend it if it is."""
        if self._key is None or not same(presented, self._key):
            return False
        self._key = None
        return True


def same(presented: str, secret: str) -> bool:
    """Compare in a time that tells nothing about where they differ."""
    return hmac.compare_digest(presented.encode("utf-8", "replace"), secret.encode())
