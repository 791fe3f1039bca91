"""What a statement says, taken apart so that two of them can be compared: words, values, denial."""

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

from services.memory.lexicon import (
    COLOURS,
    COPULAS,
    DAYS,
    DETERMINERS,
    IRREGULAR,
    MODAL_MONTHS,
    MONTHS,
    NEGATIONS,
    NUMBERS,
    OPPOSITES,
    PREPOSITIONS,
    STOP,
    VERBS,
)

Sort = Literal["word", "name", "number", "day", "month", "colour", "code"]
VALUES: Final[frozenset[Sort]] = frozenset({"number", "day", "month", "colour", "code"})

_TOKEN: Final = re.compile(r"[:=,;](?=\s)|\w+(?:[.:@/_'+-]+\w+)*")
_LEAD: Final = re.compile(
    r"^(?:[-*•>]\s+|(?:please )?(?:remember|note|keep in mind)(?: that|:)?\s+|that\s+(?=\w+\s\w))+",
    re.IGNORECASE,
)
_QUOTES: Final = re.compile('["`\u00ab\u00bb\u201c-\u201f\u2039\u203a]')
_APOSTROPHES: Final = re.compile("[\u2018\u2019\u02bc]")
_DASHES: Final = re.compile("(?<=\\w)[\u2010-\u2015-](?=[^\\W\\d])")
_THOUSANDS: Final = re.compile(r"(?<=\d)[, \u00a0\u202f'](?=\d{3}(?!\d))")


@dataclass(frozen=True, slots=True)
class Word:
    """One word that carries meaning."""

    stem: str
    sort: Sort
    after: str = ""
    """The preposition right before it, if there is one."""
    follows: bool = False
    """Whether it is the verb or behind it: no part of whom or what the statement is about."""


@dataclass(frozen=True, slots=True)
class Wording:
    """One statement."""

    words: tuple[Word, ...]
    denied: bool
    """Whether an odd number of words say no."""
    verb: str
    """The stem of its verb; a copula is `is`, and nothing stands for none that we know."""
    is_definite: bool = False
    """Whether it is about something there is one of: the CEO is Jane, and Jane is the CEO."""

    @property
    def stems(self) -> frozenset[str]:
        """Return its words as a set."""
        return frozenset(word.stem for word in self.words)


def normal(text: str) -> str:
    """Return `text` without what makes no difference: case, spaces, quotes, punctuation."""
    return " ".join(_tokens(_plain(text).casefold()))


def _plain(text: str) -> str:
    text = _QUOTES.sub("", _APOSTROPHES.sub("'", unicodedata.normalize("NFKC", text)))
    text = _LEAD.sub("", " ".join(text.split()))
    return _THOUSANDS.sub("", _DASHES.sub("", text))


def _tokens(text: str) -> list[str]:
    return [token for token in _TOKEN.findall(text) if token not in {":", "=", ",", ";"}]


@lru_cache(maxsize=4_096)  # the same neighbours come again and again
def read(text: str) -> Wording:
    """Take a statement apart."""
    surfaces = _TOKEN.findall(_plain(text))
    shouts = all(surface == surface.upper() for surface in surfaces)
    words: list[Word] = []
    denials, verb, after, is_main = 0, "", "", True
    for index, surface in enumerate(surfaces):
        token = surface.casefold().removesuffix("'s")
        if token in {",", ";"}:
            is_main = is_main and not verb
            continue
        denies = token in NEGATIONS or token.endswith("n't")
        denials += denies and is_main  # what is denied in an aside denies no more than the aside
        base = stem(token.removesuffix("n't"))
        capital = not shouts and surface[:1].isupper() and (index > 0 or _opens(surfaces))
        is_month = token in MONTHS and (token not in MODAL_MONTHS or (capital and index > 0))
        if not verb and index and not is_month and _is_verb(token, base, surfaces[index - 1]):
            verb = "is" if base in COPULAS else base
        if base in OPPOSITES:
            denials, base = denials + is_main, OPPOSITES[base]
            verb = base if verb in OPPOSITES else verb
        if token in PREPOSITIONS:
            after = token
        is_label = capital and index > 0 and len(surface) == 1 and surface != "I"
        if denies or (token in STOP and not is_month and not is_label):
            continue
        sort = "month" if is_month else "code" if is_label else _sort(token, capital)
        words.append(Word(_valued(token, base, sort), sort, after, bool(verb)))
        after = ""
    if not verb:  # one that we do not know: the first word is what the statement is about
        words = [replace(word, follows=at > 0) for at, word in enumerate(words)]
    is_definite = surfaces[:1] != [] and surfaces[0].casefold() in DETERMINERS
    if verb == "is" and _names_a_role(surfaces, words):
        words = [replace(word, follows=not word.follows) for word in words]
        is_definite = True
    return Wording(tuple(words), denials % 2 == 1, verb, is_definite)


def _is_verb(token: str, base: str, before: str) -> bool:
    """Tell whether a word is the verb, and not a noun: our lead, Ana's plan, the building."""
    word = before.casefold()
    is_noun = word in DETERMINERS or word.endswith("'s") or token.endswith("ing")
    return base in VERBS and not is_noun


def _names_a_role(surfaces: list[str], words: list[Word]) -> bool:
    """Tell whether a statement says who somebody is, name first: Jane is the CEO."""
    verb = next((at for at, word in enumerate(surfaces) if word.casefold() in COPULAS), -1)
    is_name = all(word.sort == "name" for word in words if not word.follows)
    return is_name and 0 < verb < len(surfaces) - 1 and surfaces[verb + 1].casefold() == "the"


def _opens(surfaces: list[str]) -> bool:
    """Tell whether the first word is likely a name: a singular right before the verb or a name."""
    if len(surfaces) < 2 or surfaces[0].endswith("s"):
        return False
    return surfaces[1][:1].isupper() or stem(surfaces[1]) in VERBS


def _sort(token: str, capital: bool) -> Sort:
    if token in NUMBERS or re.fullmatch(r"\d+(?:[.:]\d+)*(?:st|nd|rd|th|%|h|am|pm)?", token):
        return "number"
    if token.removesuffix("s") in DAYS:
        return "day"
    if token in COLOURS:
        return "colour"
    if re.search(r"[\d@/]|\w\.\w", token):
        return "code"
    return "name" if capital else "word"


def _valued(token: str, base: str, sort: Sort) -> str:
    """Return what stands for a word in comparisons."""
    match sort:
        case "number":
            return NUMBERS.get(token, re.sub(r"(?<=\d)(?:st|nd|rd|th)$", "", token))
        case "day":
            return DAYS[token.removesuffix("s")]
        case "word":
            return base
        case _:
            return token


def stem(word: str) -> str:
    """Return a word without its ending, alike for the forms of one word."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    for suffix in ("ies", "ing", "ed", "es", "s"):
        rest = word.removesuffix(suffix)
        if rest != word and len(rest) >= 3 and not word.endswith("ss"):
            return _restored(rest, suffix)
    return word


def _restored(rest: str, suffix: str) -> str:
    """Return the word of which an ending was cut."""
    if suffix == "ies":
        return rest + "y"
    if suffix == "s":
        return rest
    if len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "aeiosl":
        return rest[:-1]
    for known in (rest, rest + "e"):
        if known in VERBS:
            return known
    return rest + "e" if suffix == "es" and rest[-1] not in "hsxz" else rest


def alike(one: Word, other: Word) -> bool:
    """Tell whether two words are forms of one: `allergic` and `allergy`."""
    if one.stem == other.stem:
        return True
    if one.sort in VALUES or other.sort in VALUES:
        return False
    shared = next(
        (at for at, (a, b) in enumerate(zip(one.stem, other.stem, strict=False)) if a != b),
        min(len(one.stem), len(other.stem)),
    )
    longest = max(len(one.stem), len(other.stem))
    return shared >= 5 and longest - shared <= 5 and shared * 2 > longest
