"""The words that the comparison of statements knows: English, and a little German.

What is not here counts as a word that carries meaning, in whatever language.
"""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


COPULAS: Final = _words("is are was were be been being am ist sind war : = called named means")

STOP: Final = COPULAS | _words(
    """
    a about after again all already also always an and any anymore as at be been but by can could
    currently did do does done during each ever every for from had has have he her hers him his i
    if in into it its itself just longer me more mr mrs ms my name now of off on onto or our ours
    out over please shall she should so some than that the their them then there
    these they this those to today too until up us very was we were what when where which while
    who whom whose will with would yet you your yours still
    der die das den dem des ein eine einen am im um zu und oder immer unser unsere es er sie wir
    """
)
DETERMINERS: Final = _words(
    "the a an our my your his her their its this that these those each every"
)
PREPOSITIONS: Final = _words("about after at before by for from in into of on to until with am im")
NEGATIONS: Final = _words(
    "not no never none nobody nothing without neither nor cannot against hardly "
    "nicht kein keine nie"
)
OPPOSITES: Final = {"dislike": "like", "hate": "like", "disable": "enable", "disagree": "agree"}
"""Words that deny another one."""

NON_EXCLUSIVE: Final = _words(
    """
    like love enjoy know speak use have play visit meet buy ask want need mention say
    add see read learn support help contain include offer sell allergic responsible interested
    good fond afraid friend member call order send try test fix check
    """
)
"""What is true of one thing may be true of another: she likes tea, and she likes coffee."""

VERBS: Final = (
    NON_EXCLUSIVE
    | COPULAS
    | _words(
        """
    agree allow approve arrive become begin belong bring build buy choose close come cost decide
    depend deploy die dislike drink eat end expire fail finish fly get give go happen hate hold
    join keep last lead leave let live lose make manage may might move must open owe own pay prefer
    run serve sit sleep stand start stay stop store take talk teach tell think travel wait wear
    win work answer close require rebuild happen report moved chose require be will should can
    """
    )
)
ATTRIBUTES: Final = _words(
    """
    address bank birthday branch budget capital channel city codename color colour contact cost
    currency database date day deadline default director domain editor email favorite favourite
    format framework goal host hour language lead leader limit location manager name number
    office owner password phone place plan platform port price provider rate region room size
    status supplier target time timezone tool url vendor version
    """
)
"""Nouns that have one value at a time."""

NUMBERS: Final = {
    **{
        word: str(number)
        for number, word in enumerate(
            [
                "zero",
                "one",
                "two",
                "three",
                "four",
                "five",
                "six",
                "seven",
                "eight",
                "nine",
                "ten",
                "eleven",
                "twelve",
                "thirteen",
                "fourteen",
                "fifteen",
                "sixteen",
                "seventeen",
                "eighteen",
                "nineteen",
                "twenty",
            ]
        )
    },
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "hundred": "100",
    "thousand": "1000",
    "first": "1",
    "second": "2",
    "third": "3",
    "noon": "12:00",
    "midnight": "0:00",
}
_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
_TAGE = "montag dienstag mittwoch donnerstag freitag samstag sonntag"
DAYS: Final = {
    **{word: word for word in _DAYS.split()},
    **dict(zip(_TAGE.split(), _DAYS.split(), strict=True)),
}
MONTHS: Final = _words(
    """
    january february march april june july august september october november december may
    """
)
MODAL_MONTHS: Final = _words("may march")
"""Words that are months with a capital letter only."""
COLOURS: Final = _words("black blue brown green grey gray orange pink purple red white yellow")

IRREGULAR: Final = {
    "written": "write",
    "wrote": "write",
    "rebuilt": "rebuild",
    "built": "build",
    "chosen": "choose",
    "chose": "choose",
    "held": "hold",
    "kept": "keep",
    "made": "make",
    "ran": "run",
    "paid": "pay",
    "took": "take",
    "taken": "take",
    "went": "go",
    "met": "meet",
    "spoke": "speak",
    "spoken": "speak",
    "bought": "buy",
    "known": "know",
    "knew": "know",
    "does": "do",
    "goes": "go",
    "has": "have",
    "had": "have",
    "lives": "live",
    "lost": "lose",
}
