"""What is not worth a memory: echoes of recall or of our own words, prompts, chatter."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.memory import MemoryKind
from services.memory.lexicon import VERBS
from services.memory.wording import Word, normal, read, stem

ECHO: Final = "It restates what was recalled: memory holds that already."
OWN: Final = "It restates what you said yourself, and nobody else did."
SYSTEM: Final = "It is text of the system, not something that anybody told."
CHATTER: Final = "It is small talk or talk about the work, and means nothing later."
QUESTION: Final = "It is a question; save what the answer is."
SHORT: Final = "It is no statement; say whom or what it is about."
MOST_PARTS: Final = 20  # of a statement that may echo several others; a longer one is a text
PROMPT_WORDS: Final = 4  # shared with one sentence of a prompt; fewer can be chance

_SYSTEM: Final = re.compile(
    r"^\s*\[(?:status|task|job |result of|note|nudge|repair|limit|system|input|message|you )"
    r"|<\|\w+\|>|^\s*</?(?:system|assistant|user|tool)\b|^\s*#{1,6} (?:system|instructions)\b"
    r"|\b(?:memory|channel)_(?:save|recall|delete|about|correct)\b|\bspawn_worker\b"
    r"|^(?:the|my|your) system prompt (?:says|tells|states|requires|instructs)\b"
    r"|^you are an? (?:ai|assistant|branch|worker|agent|large language model)\b"
    r"|^what (?:is remembered|was said), as data|^(?:refused|error|interrupted): ",
    re.IGNORECASE,
)
_OWN: Final = re.compile(
    r"^(?:i|the (?:assistant|agent|bot|ai|model)|penstock)(?: have| has| had|'ve)?(?: just)? "
    r"(?:told|informed|explained|replied|mentioned|answered|offered|suggested|reminded|confirmed"
    r"|saved|stored|recalled|checked|searched|responded|apologi[sz]ed|summari[sz]ed)\b"
    r"|^as i (?:said|mentioned|noted|explained)\b",
    re.IGNORECASE,
)
_RECALLED: Final = re.compile(
    r"^(?:according to|as (?:noted|stored|saved) in|from) (?:my |the |our )?memor(?:y|ies)\b"
    r"|^(?:my |the )?memory (?:holds|says|shows|contains|notes|records)\b"
    r"|^it is (?:already )?(?:known|remembered) that\b|^as (?:already )?(?:known|remembered)\b"
    r"|^i (?:remember|recall)(?:ed)? that\b",
    re.IGNORECASE,
)
_NOISE: Final = (
    r"(?:thanks|thank you|thx|cheers|ok|okay|yes|yep|yeah|no|nope|sure|great|cool|nice|fine|perfect"
    r"|hi|hello|hey|bye|goodbye|good (?:morning|afternoon|evening|night)|sounds good|got it|will do"
    r"|no problem|a lot|so much|very much|you|all|everyone|everybody|there|then|again|that works"
    r"|for (?:that|this|it|(?:your|the) help))"
)
_CHATTER: Final = re.compile(
    rf"^{_NOISE}(?:[\s,.!]+{_NOISE})*(?:,? @?\w+)?[\s,.!\u2026]*$"
    r"|\b(?:said|says|sent|exchanged) (?:hi|hello|thanks|thank you|goodbye|bye|greetings"
    r"|good (?:morning|night))\b|\b(?:thanked|greeted) (?:the )?\w+[.!]*$"
    r"|^the (?:user|human|person) (?:asked|asks|wanted to know|wants to know|inquired|requested)\b"
    r"|\basked (?:when|what|where|who|how|why)\b"
    r"|\bnothing (?:is |was )?(?:worth|to (?:save|remember|add))\b"
    r"|\bno new (?:information|facts?)\b"
    r"|^(?:a|the|this|my|one) (?:worker|branch|task|turn|tool call|command|request)"
    r"(?: (?:was|is|has been|were) (?:now )?(?:started|spawned|running|completed|finished|cancelled"
    r"|done|delegated|successful|under way|in progress)| succeeded| failed| completed| finished"
    r"| ended| ran)\b",
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
    return OWN if _is_our_own(text, heard) else None


def _is_our_own(text: str, heard: Heard) -> bool:
    """Tell whether we said it and nobody else had a part in it.

    A proposal of ours may have found a yes. And we may have said in full what a person only hinted
    at: whoever named the value has said it.
    """
    asked, told = _asked_and_told(heard.own)
    if not _holds(text, told) or _holds(text, asked):
        return False
    _, hints = _asked_and_told(heard.said)
    values = [word for word in read(text).words if word.follows]
    return not any(read(hint).has(value) for hint in hints for value in values)


def _asked_and_told(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the questions and the other sentences of some texts."""
    sentences = _sentences(texts)
    asked = [sentence for sentence in sentences if sentence.endswith("?")]
    return asked, [sentence for sentence in sentences if not sentence.endswith("?")]


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
    wording = read(text)
    return all(wording.has(word) for word in words)


def _echoes(text: str, recalled: Sequence[str]) -> bool:
    """Tell whether each part of `text` is said by one of the recalled statements.

    A part that begins with a verb is about what the first part is about: taken together, words of
    several memories can say something new.
    """
    parts = [part for part in _CLAUSES.split(text.strip().rstrip(".!")) if part.strip()]
    if not recalled or len(parts) > MOST_PARTS:
        return False
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
