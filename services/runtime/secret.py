"""A value that must not be seen: passwords, tokens, URLs that carry them."""

from typing import Final, NoReturn

HIDDEN: Final = "***"


class Secret:
    """A string that prints as `***` and that no encoder of ours accepts.

    msgspec refuses to encode it, so it cannot reach an event or a response in clear.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the string itself; call it where it is used, not before."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied out of the process.

        Raises:
            TypeError: always.
        """
        raise TypeError("a secret is not serialised")
