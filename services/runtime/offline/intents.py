"""What a person can want of the rules."""

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Greet:
    """Hello."""


@dataclass(frozen=True, slots=True)
class Thank:
    """Thanks, fine, and the like."""


@dataclass(frozen=True, slots=True)
class Help:
    """What can you do?"""


@dataclass(frozen=True, slots=True)
class Identify:
    """Who are you?"""


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep this."""

    content: str


@dataclass(frozen=True, slots=True)
class Recall:
    """A question, to be answered from memory."""

    question: str


@dataclass(frozen=True, slots=True)
class ListMemories:
    """What do you remember?"""


@dataclass(frozen=True, slots=True)
class AboutMe:
    """What do you know about me?"""


@dataclass(frozen=True, slots=True)
class Correct:
    """It is not as you remember it, but like this."""

    content: str


@dataclass(frozen=True, slots=True)
class SearchTalk:
    """What did we say about this?"""

    topic: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove this from memory."""

    topic: str


@dataclass(frozen=True, slots=True)
class RunCommand:
    """Run this in a shell."""

    command: str


@dataclass(frozen=True, slots=True)
class RunUnclear:
    """Run something that is not a command as it stands."""


@dataclass(frozen=True, slots=True)
class ListFiles:
    """What is in this directory of the workspace?"""

    path: str = "."


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What is in this file?"""

    path: str


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Put this text into this file."""

    path: str
    content: str


@dataclass(frozen=True, slots=True)
class EditFile:
    """Replace a part of this file."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class SendFile:
    """Give me this file."""

    path: str


@dataclass(frozen=True, slots=True)
class Interactive:
    """Open a worker that waits for more after each thing."""

    first: str
    """What it begins with; may be empty."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Pass this on to a worker."""

    message: str


@dataclass(frozen=True, slots=True)
class Status:
    """What is going on?"""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop this."""

    target: str
    """Words that name it; empty where there is no doubt, `all` for everything."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Do this with a job."""

    action: str
    arguments: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Say:
    """Say this, or nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class AddTask:
    """Put this on the list of tasks."""

    title: str


@dataclass(frozen=True, slots=True)
class ListTasks:
    """What is on the list of tasks?"""


@dataclass(frozen=True, slots=True)
class RunTask:
    """Have this task of the list done."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """None of the above."""

    text: str


Intent: TypeAlias = (
    Greet
    | Thank
    | Help
    | Identify
    | Remember
    | Recall
    | ListMemories
    | AboutMe
    | Correct
    | SearchTalk
    | Forget
    | RunCommand
    | RunUnclear
    | ListFiles
    | ReadFile
    | WriteFile
    | EditFile
    | SendFile
    | Interactive
    | Tell
    | Status
    | Cancel
    | Schedule
    | Say
    | AddTask
    | ListTasks
    | RunTask
    | Unknown
)
