"""Words that may leave with a span: secrets taken out, cut to a size, in the shape of messages."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from services.errors import ServiceError
from services.runtime.bodies import BodyStore, text_of
from services.runtime.telemetry.span import Said, Span
from services.runtime.text import clean, cut, gap

REDACTED: Final = "[redacted]"
EDGE: Final = 512  # characters; no secret but a private key is longer, and those end with the text
_SECRETS: Final = re.compile(
    r"""
    -----BEGIN[ A-Z]*PRIVATE\ KEY-----.*?(?:-----END[ A-Z]*PRIVATE\ KEY-----|\Z)
    | \b(?:sk|rk|pk)[-_](?=[-_A-Za-z]{0,40}[A-Z0-9])[-_A-Za-z0-9]{12,}    # model providers
    | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_\w{20,} | \bglpat-[-\w]{16,}
    | \bxox[abeoprs]-[-A-Za-z0-9]{8,} | \bxapp-[-A-Za-z0-9]{8,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b | \bAIza[-_A-Za-z0-9]{30,}
    | (?<![-\w])eyJ[-_A-Za-z0-9]{8,}\.[-_A-Za-z0-9]{8,}\.[-_A-Za-z0-9]*    # JSON web tokens
    | (?<=://)[^/\s:@]*:[^/\s@]+(?=@)    # user:password@host
    | (?<![\w.%+-])[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}    # addresses of people
    """,
    re.VERBOSE | re.DOTALL,
)
_NAMED: Final = re.compile(
    r"""
    (?P<name> \b[\w.-]{0,40}
        (?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|cookie
          |(?P<header>authorization)) (?!s\b)
        [\w.-]{0,40} (?:\\{0,8}["'])? \s{0,9}[:=]\s{0,9} )
    (?: (?P<quote>\\{0,8}["']) (?:(?!(?P=quote))[^\n]){4,}    # all of it, also in nested JSON
    | (?P<scheme>(?(header)[a-z][\w-]{0,20}[ ]{1,9}|)) [^\s"',;&}]{4,}
    | [^\s"',;&}]{4,} )
    """,
    re.VERBOSE | re.IGNORECASE,
)


def redacted(text: str) -> str:
    """Return `text` without what looks like a secret or somebody's address."""
    return _NAMED.sub(_without, _SECRETS.sub(REDACTED, text))


def _without(found: re.Match[str]) -> str:
    return f"{found['name']}{found['quote'] or ''}{found['scheme'] or ''}{REDACTED}"


async def told(span: Span, bodies: BodyStore, limit: int) -> dict[str, str]:
    """Return what was said in a span, by attribute, each in at most about `limit` bytes."""
    return {name: await said(words, bodies, limit) for name, words in span.said.items()}


async def said(words: Said, bodies: BodyStore, limit: int) -> str:
    """Return words as the value of an attribute; messages as JSON, as the conventions ask."""
    try:
        text = await text_of(bodies, words.text)
    except ServiceError:
        text = "(this text cannot be read)"
    text = safe(text, limit)
    if words.role is None:
        return text
    parts: list[Mapping[str, Any]] = [{"type": "text", "content": text}] if text else []
    parts += [
        {
            "type": "tool_call",
            "id": call.id,
            "name": call.name,
            "arguments": safe(call.arguments, limit),
        }
        for call in words.calls
    ]
    return msgspec.json.encode([{"role": words.role, "parts": parts}]).decode()


def safe(text: str, limit: int) -> str:
    """Return `text` redacted, and then cut: no secret is left that a cut has made unlike one.

    Of a very long text only the beginning is looked at, and what is at the edge of that is not
    told.
    """
    room = 4 * limit + EDGE
    if len(text) <= room:
        return cut(redacted(clean(text)), limit)
    return cut(redacted(clean(text[:room]))[:-EDGE] + gap(len(text) - room), limit)
