"""What is worth keeping in a person's words, by patterns: few are recognised, the rest is left.

Better to miss something than to keep what was not meant: questions, guesses, quotations, secrets
and what will be wrong tomorrow are left alone.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, TypeAlias

from schemas.memory import MemoryKind

LONGEST: Final = 300  # characters of a sentence; longer ones are not one statement
SHORTEST: Final = 3  # words


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing to keep, in words that make sense to somebody who was not there."""

    text: str
    kind: MemoryKind


_Make: TypeAlias = Callable[[re.Match[str], str], str]


def statements(text: str, author: str, day: date | None = None) -> Iterator[Statement]:
    """Yield what is worth keeping of what somebody said.

    Args:
        text: What was said.
        author: Who said it.
        day: When, so that "tomorrow" becomes a date; without it such sentences are left.
    """
    for sentence in _sentences(text):
        dated = _dated(sentence, day)
        if dated is None or _LEFT.search(dated):
            continue
        for pattern, kind, make in _RULES:
            if found := pattern.match(dated):
                said = " ".join(make(found, author).split())
                yield Statement(said[:1].upper() + said[1:] + ".", kind)
                break


def _sentences(text: str) -> Iterator[str]:
    """Yield sentences without what they begin with for politeness; no questions, no quotations."""
    bare = re.sub(r"```.*?(?:```|$)", "\n", text, flags=re.DOTALL)
    for line in bare.splitlines():
        if line.lstrip().startswith((">", "|")):
            continue
        for part in re.split(r"(?<=[.!?;])\s+", line.strip()):
            sentence = part.strip(" .!;*-")
            while (shorter := _LEAD.sub("", sentence)) != sentence:
                sentence = shorter
            words = len(sentence.split())
            is_question = part.rstrip(" \"')*").endswith("?")
            if not is_question and words >= SHORTEST and len(sentence) <= LONGEST:
                yield sentence


def _dated(sentence: str, day: date | None) -> str | None:
    """Return the sentence with its days as dates; None where that cannot be done."""
    if not _RELATIVE.search(sentence):
        return sentence
    if day is None:
        return None
    return _RELATIVE.sub(lambda found: f"on {day + _DAYS[found[1].lower()]}", sentence)


_DAYS: Final = {
    "today": timedelta(0),
    "tonight": timedelta(0),
    "tomorrow": timedelta(days=1),
    "yesterday": timedelta(days=-1),
}
_RELATIVE: Final = re.compile(r"\b(?:on )?(today|tonight|tomorrow|yesterday)\b(?!')", re.IGNORECASE)
_LEAD: Final = re.compile(
    r"^(?:@\S+|by the way|btw|fyi|note|so|and|but|also|well|ok(?:ay)?|now|hi|hello|hey|yes|no"
    r"|just so you know|for the record|please note that|remember(?: that|:)|as you know"
    r"|in case you did not know)\b[,:]?\s+",
    re.IGNORECASE,
)
_LEFT: Final = re.compile(
    # guesses and what is not meant
    r"\b(?:maybe|perhaps|probably|possibly|might|may be|could be|i (?:guess|think|suppose|wonder)"
    r"|not sure|unsure|if|unless|imagine|joking|kidding|hypothetical(?:ly)?|what about)\b"
    # what will be wrong soon
    r"|\b(?:broken|failing|stuck|down|right now|at the moment|currently|just now"
    r"|(?:today|tonight|tomorrow|yesterday)'s|(?:this|next|last) (?:morning|afternoon|evening"
    r"|week|month|year|(?:mon|tues|wednes|thurs|fri|satur|sun)day))\b"
    # secrets, and what could make one believe that it is an instruction
    r"|\b(?:password|passphrase|passwort|secret|api[ -]?key|private key|token|credential|pin"
    r"|cvv|credit card|ssn|iban)s?\b"
    r"|\b(?:ignore|disregard|override) (?:all|any|your|the|previous)\b|\bsystem prompt\b",
    re.IGNORECASE,
)

_FIRST_PERSON: Final = re.compile(r"\b(?:i|i'm|i've|me|my|mine|myself)\b", re.IGNORECASE)


def _of_me(found: re.Match[str], author: str) -> str:
    """Return `I VERB REST` in the third person; in quotation where the rest speaks of `me`."""
    if _FIRST_PERSON.search(found["rest"]):
        return f"{found[0]} (said by {author})"
    first, _, last = found["verb"].lower().rpartition(" ")
    if last in {"am", "'m"}:
        third = "is"
    elif first in {"do not", "don't"}:
        third = f"does not {last}"
    else:
        third = f"{first} {_s(last)}".strip()
    return f"{author} {third} {found['rest']}"


def _s(verb: str) -> str:
    """Return a verb in its third person."""
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


def _my(found: re.Match[str], author: str) -> str:
    if _FIRST_PERSON.search(found["rest"]):
        return f"{found[0]} (said by {author})"
    return f"{author}'s {found['rest']}"


def _as_said(found: re.Match[str], author: str) -> str:
    return f"{found[0]} (said by {author})" if _FIRST_PERSON.search(found[0]) else found[0]


def _to_do(found: re.Match[str], author: str) -> str:
    by = f" (said by {author})" if _FIRST_PERSON.search(found[0]) else ""
    return f"To do: {found['what']}{by}"


def _name(found: re.Match[str], author: str) -> str:
    return f"{author}'s name is {found['name']}"


def _rule(pattern: str, kind: MemoryKind, make: _Make) -> tuple[re.Pattern[str], MemoryKind, _Make]:
    return re.compile(pattern, re.IGNORECASE), kind, make


_IS: Final = r"(?:is|are|was|were|will be|has|have|runs?|lives?|uses?|starts?|ends?)"
_NAME: Final = r"(?-i:[^\W\d_a-zß-ÿ][\w'-]*(?: [^\W\d_a-zß-ÿ][\w'-]*)*)"
_THING: Final = r"(?!(?:it|that|this|them|those|these|you)\b)"  # what means something by itself
_RULES: Final = (
    _rule(rf"(?:my name is|call me|i am called) (?P<name>{_NAME})(?=$|,| and )", "identity", _name),
    _rule(r"(?:todo|to do)\s*[:-]\s*(?P<what>.+)", "todo", _to_do),
    _rule(r"(?:(?:do not|don't) forget|remember) to (?P<what>.+)", "todo", _to_do),
    _rule(r"(?:i|we) (?:need to|have to|must) (?P<what>.+)", "todo", _to_do),
    _rule(
        r"(?:we|the team|the board)(?: have| has|'ve)? (?:decided|agreed|chose|settled)\b.+",
        "decision",
        _as_said,
    ),
    _rule(r"(?:it (?:is|was) decided|the decision (?:is|was))\b.+", "decision", _as_said),
    _rule(r"(?:our|my|the) (?:goal|aim|objective|target)s? (?:is|are)\b.+", "goal", _as_said),
    _rule(
        r"i (?P<verb>(?:do not|don't) (?:like|eat|drink|use)|prefer|like|love|hate|dislike"
        rf"|(?:always|never|usually) \w+) (?P<rest>{_THING}.+)",
        "preference",
        _of_me,
    ),
    _rule(
        r"i ?(?P<verb>am|'m) (?P<rest>(?:an?(?! bit| little)|the|from|based|responsible|allergic"
        r"|in charge) .+)",
        "identity",
        _of_me,
    ),
    _rule(
        rf"i (?P<verb>work|live|manage|lead|own|maintain|speak|use) (?P<rest>{_THING}.+)",
        "identity",
        _of_me,
    ),
    _rule(r"my (?P<rest>favou?rite\b.+ (?:is|are) .+)", "preference", _my),
    _rule(
        r"my (?P<rest>(?!question|point|guess|problem|issue|bad|turn|idea|fault|mistake)"
        rf"(?:[\w'-]+ ){{1,6}}{_IS} .+)",
        "fact",
        _my,
    ),
    _rule(rf"our (?:[\w'-]+ ){{1,6}}{_IS} .+", "fact", _as_said),
    _rule(r"we (?:work|use|run|deploy|release|ship|meet|live|host) .+", "fact", _as_said),
)
