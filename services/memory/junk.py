"""What is not worth a memory: echoes of recall or of our own words, prompts, chatter."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.memory import MemoryKind
from services.memory.lexicon import VERBS
from services.memory.wording import Word, alike, normal, read, stem

ECHO: Final = "It restates what was recalled: memory holds that already."
OWN: Final = "It restates what you said yourself, and nobody else did."
SYSTEM: Final = "It is text of the system, not something that anybody told."
CHATTER: Final = "It is small talk or talk about the work, and means nothing later."
QUESTION: Final = "It is a question; save what the answer is."
SHORT: Final = "It is no statement; say whom or what it is about."
PROMPT_WORDS: Final = 4  # shared with one sentence of a prompt; fewer can be chance

_SYSTEM: Final = re.compile(
    r"^\s*\[(?:status|task|result of|note|nudge|repair|limit|system|input|message|you )"
    r"|<\|\w+\|>|^\s*</?(?:system|assistant|user|tool)\b|^\s*#{1,6} (?:system|instructions)\b"
    r"|\b(?:memory|channel)_(?:save|recall|delete|about|correct)\b|\bspawn_worker\b"
    r"|\bsystem prompt\b|^you are an? (?:ai|assistant|branch|worker|agent|large language model)\b"
    r"|^what (?:is remembered|was said), as data|^(?:refused|error|interrupted): ",
    re.IGNORECASE,
)
_OWN: Final = re.compile(
    r"^(?:i|we|the (?:assistant|agent|bot|ai|model)|penstock)(?: have| has| had|'ve)?(?: just)? "
    r"(?:told|informed|explained|replied|mentioned|answered|offered|suggested|reminded|confirmed"
    r"|saved|stored|recalled|checked|searched|responded|apologi[sz]ed|summari[sz]ed)\b"
    r"|^as (?:i|we) (?:said|mentioned|noted|explained)\b",
    re.IGNORECASE,
)
_RECALLED: Final = re.compile(
    r"^(?:according to|as (?:noted|stored|saved) in|from) (?:my |the |our )?memor(?:y|ies)\b"
    r"|^(?:my |the )?memory (?:holds|says|shows|contains|notes|records)\b"
    r"|^it is (?:already )?(?:known|remembered) that\b|^as (?:already )?(?:known|remembered)\b"
    r"|^i (?:remember|recall)(?:ed)? that\b",
    re.IGNORECASE,
)
_CHATTER: Final = re.compile(
    r"^(?:thanks|thank you|thx|cheers|ok|okay|yes|yep|no|nope|sure|great|cool|nice|fine|perfect"
    r"|hi|hello|hey|bye|goodbye|good (?:morning|afternoon|evening|night)|sounds good|got it)\b"
    r"[^:]{0,24}$"
    r"|\b(?:said|says|sent|exchanged) (?:hi|hello|thanks|thank you|goodbye|bye|greetings"
    r"|good (?:morning|night))\b|\b(?:thanked|greeted|welcomed)\b"
    r"|^the (?:user|human|person) (?:asked|asks|wanted to know|wants to know|inquired|requested)\b"
    r"|\basked (?:when|what|where|who|how|why|whether|if)\b"
    r"|\bnothing (?:worth|new|else|to (?:save|remember|add))\b|\bno new (?:information|facts?)\b"
    r"|^(?:a|the|this|my|our|one) (?:worker|branch|task|turn|tool|command|conversation|request)"
    r"(?: \S+)? (?:was|is|has|have|had|were|ended|ran|succeeded|failed|completed|finished)\b",
    re.IGNORECASE,
)
_FORMS: Final = ((_SYSTEM, SYSTEM), (_RECALLED, ECHO), (_CHATTER, CHATTER))
_SAID_BY: Final = re.compile(r" \(said by [^()]+\)$")
_SENTENCES: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_CLAUSES: Final = re.compile(r"[;,.]\s+|\n+|,? \band\b ", re.IGNORECASE)
_LATIN: Final = re.compile(r"[\x00-\u024f\u2000-\u206f]*")


@dataclass(frozen=True, slots=True)
class Heard:
    """What a run was shown, by where it came from."""

    recalled: tuple[str, ...] = ()
    """What it recalled from memory."""
    own: tuple[str, ...] = ()
    """What the agent itself said in the conversation, conclusions of its branches included."""
    said: tuple[str, ...] = ()
    """What people said there."""
    system: tuple[str, ...] = ()
    """Prompts and instructions."""


def refusal(text: str, kind: MemoryKind, heard: Heard) -> str | None:
    """Return why `text` should not be remembered, or None where it may be."""
    if (reason := _by_its_form(text.strip(), kind)) or _holds(text, heard.said):
        return reason
    if _is_prompt(text, heard.system):
        return SYSTEM
    if _echoes(text, heard.recalled):
        return ECHO
    asked = [sentence for sentence in _sentences(heard.own) if sentence.endswith("?")]
    told = [sentence for sentence in _sentences(heard.own) if not sentence.endswith("?")]
    if _holds(text, told) and not _holds(text, asked):  # a proposal of ours may have found a yes
        return OWN
    return None


def _by_its_form(text: str, kind: MemoryKind) -> str | None:
    """Return why a text like this is never remembered, whatever was said."""
    for pattern, reason in _FORMS:
        if pattern.search(text):
            return reason
    if _OWN.search(text) and not _SAID_BY.search(text):
        return OWN
    if text.endswith(("?", "\uff1f")) and kind != "todo":
        return QUESTION
    words = normal(text).split()
    return SHORT if not words or (len(words) == 1 and _LATIN.fullmatch(text)) else None


def _sentences(texts: Iterable[str]) -> list[str]:
    return [part.strip() for text in texts for part in _SENTENCES.split(text) if part.strip()]


def _is_prompt(text: str, prompts: Iterable[str]) -> bool:
    words = read(text).words
    return len(words) >= PROMPT_WORDS and _holds(text, _sentences(prompts))


def _holds(text: str, texts: Iterable[str]) -> bool:
    """Tell whether one of `texts` says all that `text` says."""
    wording = read(text)
    return bool(wording.words) and any(
        wording.denied == read(other).denied and _has(other, wording.words) for other in texts
    )


def _has(text: str, words: Sequence[Word]) -> bool:
    others = read(text).words
    return all(any(alike(word, other) for other in others) for word in words)


def _echoes(text: str, recalled: Sequence[str]) -> bool:
    """Tell whether each part of `text` is said by one of the recalled statements.

    A part that begins with a verb is about what the first part is about: taken together, words of
    several memories can say something new.
    """
    if not recalled:
        return False
    parts = [part for part in _CLAUSES.split(text.strip().rstrip(".!")) if part.strip()]
    subject: tuple[Word, ...] = ()
    for part in parts:
        wording = read(part)
        first = part.split()[0].casefold()
        words = (*subject, *wording.words) if stem(first) in VERBS else wording.words
        said = any(
            wording.denied == read(other).denied and _has(other, words) for other in recalled
        )
        if words and not said:
            return False
        subject = subject or tuple(word for word in wording.words if not word.follows)
    return bool(parts)
