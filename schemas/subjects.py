"""The subject grammar: seven tokens that name one stream of facts.

    evt.{tenant}.{agent}.{adapter}.{conversation}.{entity}.{id}

Each token is `[a-z0-9_-]{1,64}` on the wire. Values with other characters are encoded reversibly;
`_` stands where a token does not apply.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

PREFIX: Final = "evt"
ABSENT: Final = "_"
JOB: Final = "cron"  # the adapter of jobs, each a conversation of its own: never change
FORK: Final = "fork"  # the adapter of forks, which nobody delivers to: never change
REMEMBERED: Final = 20_000  # subjects and tokens whose other form is at hand: each comes often
MAX_TOKEN: Final = 64  # characters of one encoded token; longer ids are refused, never cut

_PLAIN = re.compile(r"[a-z0-9-]")
_TOKEN = re.compile(r"[a-z0-9_-]{1,64}")


class InvalidToken(ValueError):
    """The value cannot be a token of a subject."""


@lru_cache(maxsize=REMEMBERED)
def encode(value: str) -> str:
    """Return `value` as one token.

    Lower-case letters, digits and `-` stand for themselves. `_` begins an escape: `__` is an
    underscore, `_` and a letter that letter in upper case, `_` and two hexadecimal digits an ASCII
    byte, `_-` and two hexadecimal digits a byte of UTF-8 above. No value encodes to a lone `_`.

    Raises:
        InvalidToken: `value` is empty, not valid text, or longer than 64 characters when encoded.
    """
    try:
        token = "".join(_encode_character(character) for character in value)
    except UnicodeEncodeError as error:
        raise InvalidToken(f"{value!r} is not valid text") from error
    if not token:
        raise InvalidToken("an id must not be empty")
    if len(token) > MAX_TOKEN:
        raise InvalidToken(
            f"{value[:40]!r}… needs {len(token)} characters as a subject token; "
            f"the limit is {MAX_TOKEN}: choose a shorter id"
        )
    return token


def _encode_character(character: str) -> str:
    if _PLAIN.fullmatch(character):
        return character
    if character == "_":
        return "__"
    if "A" <= character <= "Z":
        return "_" + character.lower()
    escaped = ""
    for byte in character.encode():
        escaped += f"_{byte:02x}" if byte < 0x80 else f"_-{byte:02x}"
    return escaped


@lru_cache(maxsize=REMEMBERED)
def decode(token: str) -> str:
    """Return the value that `token` encodes.

    Raises:
        InvalidToken: `encode` never produces this token.
    """
    if not _TOKEN.fullmatch(token):
        raise InvalidToken(f"{token!r} is not an encoded value")
    data = bytearray()
    index = 0
    while index < len(token):
        character = token[index]
        if character != "_":
            data += character.encode()
            index += 1
            continue
        escape = token[index + 1 : index + 4]
        if escape[:1] == "_":
            data += b"_"
            index += 2
        elif escape[:1].isalpha():
            data += escape[:1].upper().encode()
            index += 2
        elif escape[:1] == "-":
            data.append(_hex(escape[1:3], token))
            index += 4
        else:
            data.append(_hex(escape[:2], token))
            index += 3
    try:
        value = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidToken(f"{token!r} is not an encoded value") from error
    if encode(value) != token:
        raise InvalidToken(f"{token!r} is not an encoded value")
    return value


def _hex(digits: str, token: str) -> int:
    if not re.fullmatch(r"[0-9a-f]{2}", digits):
        raise InvalidToken(f"{token!r} is not an encoded value")
    return int(digits, 16)


class Subject(NamedTuple):
    """One stream of facts, its parts decoded; None where a part does not apply."""

    tenant: str
    agent: str | None = None
    adapter: str | None = None
    conversation: str | None = None
    entity: str = "channel"
    id: str | None = None

    def __str__(self) -> str:
        """Return the subject on the wire."""
        return _on_the_wire(*self)

    def of(self, entity: str, id: str | None = None) -> "Subject":  # noqa: A002 - the grammar's word
        """Return another stream of the same conversation."""
        return Subject(self.tenant, self.agent, self.adapter, self.conversation, entity, id)

    @property
    def channel(self) -> "Subject":
        """The conversation's channel stream."""
        return self if self.entity == "channel" and self.id is None else self.of("channel")


@lru_cache(maxsize=REMEMBERED)
def _on_the_wire(*parts: str | None) -> str:
    return ".".join((PREFIX, *(ABSENT if part is None else encode(part) for part in parts)))


@lru_cache(maxsize=REMEMBERED)
def parse(subject: str) -> Subject:
    """Return the parts of a subject on the wire.

    Raises:
        InvalidToken: it is not one of ours.
    """
    prefix, *tokens = subject.split(".")
    if prefix != PREFIX or len(tokens) != 6 or not all(map(_TOKEN.fullmatch, tokens)):
        raise InvalidToken(f"{subject!r} is not an event subject")
    tenant, *rest = (None if token == ABSENT else decode(token) for token in tokens)
    agent, adapter, conversation, entity, id_ = rest
    if tenant is None or entity is None:
        raise InvalidToken(f"{subject!r} lacks a tenant or an entity")
    return Subject(tenant, agent, adapter, conversation, entity, id_)


def matching(
    tenant: str | None = None,
    agent: str | None = None,
    adapter: str | None = None,
    conversation: str | None = None,
    entity: str | None = None,
    id: str | None = None,  # noqa: A002 - the grammar's word
) -> str:
    """Return the filter of all subjects with these parts; None means any."""
    parts = (tenant, agent, adapter, conversation, entity, id)
    return ".".join((PREFIX, *("*" if part is None else encode(part) for part in parts)))


def matches(pattern: str, subject: str) -> bool:
    """Tell whether `subject` is among those that a NATS filter selects."""
    wanted, found = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":  # noqa: S105 - the wildcard of NATS
            return len(found) > index
        if index >= len(found) or token not in {"*", found[index]}:
            return False
    return len(wanted) == len(found)
