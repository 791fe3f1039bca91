"""Sentences about jobs, and what the rules do with them."""

import re
from typing import Final

from services.runtime.offline.intents import Schedule
from services.runtime.offline.times import WHEN, schedule_of

_SCHEDULE: Final = (
    re.compile(rf"(?P<when>{WHEN})[:,]?\s+(?:please )?(?P<what>\S.+)", re.IGNORECASE | re.DOTALL),
    re.compile(
        rf"remind (?:me|us) (?P<when>{WHEN})[:,]?\s+(?:to |of |that )?(?P<reminder>\S.+)",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(
        rf"remind (?:me|us) (?:to |of |that )?(?P<reminder>\S.+?)[,]?\s+(?P<when>{WHEN})[\s.!]*",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(rf"(?P<what>\S.+?)[,]?\s+(?P<when>{WHEN})[\s.!]*", re.IGNORECASE | re.DOTALL),
)
_STEER: Final = re.compile(
    r"(?P<action>pause|resume|unpause|delete|remove|run)(?: the)? (?:job|schedule) "
    r"[`'\"]?(?P<name>[\w-]+)[`'\"]?(?: now)?[\s.!]*",
    re.IGNORECASE,
)
_LIST: Final = re.compile(
    r"(?:list|show|what are)(?: me)?(?: all)?(?: the| my| your)? (?:jobs|schedules)[\s?.!]*"
    r"|what (?:jobs|schedules) (?:are there|do (?:you|i|we) have|run)[\s?.!]*"
    r"|what is scheduled[\s?.!]*",
    re.IGNORECASE,
)
_ELSE: Final = re.compile(
    r"(?:remember|memori[sz]e|keep in mind|note|don'?t forget|do not forget|forget|save to memory"
    r"|take note|make a note|i|we|you|he|she|they|it|there|this|that|our|my|the|what|when|where|who"
    r"|why|how|which)\b",
    re.IGNORECASE,
)
"""How a sentence begins that only tells of something regular, or asks."""
_ACTIONS: Final = {"unpause": "resume", "remove": "delete"}
NAME_WORDS: Final = 4
LONGEST: Final = 2_000  # characters; longer texts are no such sentence
_SMALL: Final = frozenset({"the", "a", "an", "to", "me", "us", "of", "my", "our", "say", "run"})


def parse(text: str) -> Schedule | None:
    """Return what a sentence says of jobs; None when it is not about any."""
    if len(text) > LONGEST:
        return None
    if _LIST.fullmatch(text):
        return Schedule("list")
    if found := _STEER.fullmatch(text):
        action = found["action"].lower()
        return Schedule(_ACTIONS.get(action, action), {"job": found["name"]})
    if _ELSE.match(text) or text.rstrip().endswith("?"):
        return None
    for pattern in _SCHEDULE:
        found = pattern.fullmatch(text)
        when = schedule_of(found["when"]) if found else None
        if found is None or when is None:
            continue
        said = found.groupdict()
        reminder = said.get("reminder")
        prompt = (f"say: {reminder}" if reminder else said["what"]).strip()
        return Schedule("create", {"job": name_of(prompt), "prompt": prompt, **when})
    return None


def name_of(prompt: str) -> str:
    """Return a name for a job: the words of its prompt that matter."""
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    telling = [word for word in words if word not in _SMALL] or words or ["job"]
    return "-".join(telling[:NAME_WORDS])[:40]
