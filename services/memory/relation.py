"""How a new statement stands to one that is remembered.

Cosine similarity alone cannot tell: two statements that differ in one value are closer to one
another than most paraphrases. So the words decide wherever they can, and the embedding only says
that other words mean the same.
"""

from collections.abc import Sequence
from typing import Final, Literal

from schemas.memory import MemoryKind
from services.memory.lexicon import ATTRIBUTES, NON_EXCLUSIVE
from services.memory.wording import VALUES, Word, Wording, alike, normal, read

Relation = Literal["same", "covered", "covers", "reworded", "contradicts", "other"]
"""Of a new statement to an old one. Covered: the old one says all of it. Covers: it says all that
the old one says, and more. Reworded: other words, the same meaning."""

NEAR_COSINE: Final = (
    0.95  # of embeddings; above it two statements mean the same, or differ in a value
)
NEAR_WORDS: Final = 0.6  # Dice's coefficient; below it the longer one is about more than the other
DENIED_WORDS: Final = 0.75  # likewise, for one that denies the other
HAPPENINGS: Final = frozenset({"event", "observation"})  # what happened twice is no contradiction


def relation(
    new: str, old: str, *, kind: MemoryKind = "fact", cosine: float | None = None
) -> Relation:
    """Return how `new` stands to `old`.

    Args:
        new: The statement that may be worth keeping.
        old: One that is remembered.
        kind: The kind of both.
        cosine: Similarity of their embeddings, where there are any.
    """
    if normal(new) == normal(old):
        return "same"
    one, other = read(new), read(old)
    if not one.words or not other.words:
        return "other"
    added, missing = _without(one.words, other.words), _without(other.words, one.words)
    shared = len(one.words) - len(added)
    dice = 2 * shared / (len(one.words) + len(other.words))
    if one.denied != other.denied:
        denies = dice >= DENIED_WORDS and not (added and missing) and _same_subject(added, missing)
        return "contradicts" if denies and kind not in HAPPENINGS else "other"
    if _swapped(one, other):
        return "other"
    if not (added and missing):
        return _contained(added, missing, dice)
    return _substituted(one, other, added, missing, kind=kind, cosine=cosine)


def _substituted(
    one: Wording,
    other: Wording,
    added: Sequence[Word],
    missing: Sequence[Word],
    *,
    kind: MemoryKind,
    cosine: float | None,
) -> Relation:
    """Return how two statements stand of which each has words that the other lacks."""
    if not _same_subject(added, missing):
        return "other"
    if _other_value(one, other, added, missing, kind):
        return "contradicts"
    means_the_same = cosine is not None and cosine >= NEAR_COSINE
    return "reworded" if means_the_same and _no_value(one, (*added, *missing)) else "other"


def _contained(added: Sequence[Word], missing: Sequence[Word], dice: float) -> Relation:
    """Return how two statements stand of which one has all words of the other."""
    if not added and not missing:
        return "covered"
    if dice < NEAR_WORDS or not _same_subject(added, missing):
        return "other"
    return "covers" if added else "covered"


def _without(words: Sequence[Word], others: Sequence[Word]) -> list[Word]:
    """Return the words that have no match among the others, each of which matches once."""
    left = list(others)
    unmatched = []
    for word in words:
        found = next((other for other in left if alike(word, other)), None)
        if found is None:
            unmatched.append(word)
        else:
            left.remove(found)
    return unmatched


def _same_subject(added: Sequence[Word], missing: Sequence[Word]) -> bool:
    """Tell whether the words that differ all stand behind the verb."""
    return all(word.follows for word in (*added, *missing))


def _swapped(one: Wording, other: Wording) -> bool:
    """Tell whether names that both have changed places: Ana reports to Bo, Bo reports to Ana."""
    if one.verb == other.verb == "is":
        return False
    named = {word.stem for word in (*one.words, *other.words) if word.sort == "name"}
    first = [word.stem for word in one.words if word.stem in named & other.stems]
    second = [word.stem for word in other.words if word.stem in named & one.stems]
    return first != second


def _other_value(
    one: Wording, other: Wording, added: Sequence[Word], missing: Sequence[Word], kind: MemoryKind
) -> bool:
    """Tell whether the two say different things of the same attribute of the same subject."""
    if kind in HAPPENINGS:
        return False
    if _values_differ(added, missing):
        return True
    if kind == "todo" or len(added) > 2 or len(missing) > 2 or added[0].after != missing[0].after:
        return False
    sorts = {word.sort for word in (*added, *missing)}
    shared = [word for word in one.words if word not in added]
    subject = [word for word in shared if not word.follows and word.stem != one.verb]
    said = {word.stem for word in shared if word.follows} | {one.verb, other.verb}
    if said & NON_EXCLUSIVE:
        return kind == "decision" and len(shared) >= 3
    if added[0].after or (one.verb == "prefer" and len(shared) >= 3):
        return True
    if one.verb != "is":
        return False
    has_attribute = any(word.stem in ATTRIBUTES for word in subject)
    is_definite = one.is_definite or any(word.sort != "name" for word in subject)
    is_role = sorts == {"name"} and is_definite
    return has_attribute or is_role


def _values_differ(added: Sequence[Word], missing: Sequence[Word]) -> bool:
    """Tell whether one side has a number, a day and the like where the other has another.

    What one of them says beyond that does not matter, but not both may.
    """
    pairs = {
        (one.sort, one.after)
        for one in added
        for other in missing
        if one.sort in VALUES and (one.sort, one.after) == (other.sort, other.after)
    }
    alone = (all((word.sort, word.after) in pairs for word in side) for side in (added, missing))
    return bool(pairs) and any(alone)


def _no_value(one: Wording, differing: Sequence[Word]) -> bool:
    """Tell whether words that differ may be synonyms, since none is a name or a value."""
    exclusive = one.verb not in NON_EXCLUSIVE
    return exclusive and all(word.sort == "word" for word in differing)
