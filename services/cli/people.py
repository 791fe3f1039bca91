"""Who sits at this terminal."""

import getpass


def login() -> str:
    """Return the login name; `someone` where the system has no name for this user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "someone"


def actor() -> str:
    """Return who appends events, for their envelopes."""
    return f"person:portal:{login()}"
