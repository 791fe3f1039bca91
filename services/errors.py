"""Every failure belongs to one of three families, and the family decides the acknowledgement.

Rejected    the request is not allowed now   ack, and tell the caller
Transient   trying again may work            nak, with a delay
Permanent   trying again cannot work         term, and keep the message for a person
"""


class ServiceError(Exception):
    """Something went wrong in a service."""

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or (self.__doc__ or "").strip().partition("\n")[0])


class Rejected(ServiceError):
    """The request is not allowed in the current state."""


class Transient(ServiceError):
    """A dependency is unavailable; the same message may succeed later."""


class Permanent(ServiceError):
    """The message cannot be handled, however often it is delivered."""


class Conflict(Transient):
    """Another writer appended to the subject first.

    `actual` is the subject's last sequence when the server told it, otherwise None.
    """

    def __init__(self, subject: str, *, expected: int, actual: int | None = None) -> None:
        found = "another write in flight" if actual is None else f"found {actual}"
        super().__init__(f"{subject}: expected last sequence {expected}, {found}")
        self.subject = subject
        self.expected = expected
        self.actual = actual


class Fenced(ServiceError):
    """Another process owns this run now; stop at once and write nothing more."""


class HandedBack(Transient):
    """This process is stopping; another one takes the work over at once."""


class LogUnavailable(Transient):
    """The log did not acknowledge in time; it may be down, electing a leader or out of disk."""


class LogFull(Transient):
    """The log refused the event because its storage is full; nothing was stored."""


class ModelUnavailable(Transient):
    """No configured model answered, after retries and fallbacks.

    `retry_after_s` is how long its provider asked us to wait, when it did; `rate_limited` is True
    when the provider answered and said that we ask too much.
    """

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after_s: float | None = None,
        rate_limited: bool = False,
    ) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s
        self.rate_limited = rate_limited


class ModelRefused(Permanent):
    """The model's provider refuses the request itself: a bad key, an unknown model, no quota."""


class ContextOverflow(ServiceError):
    """The request is larger than the model's context window."""


class SandboxUnavailable(Rejected):
    """The sandbox cannot start here, so tools that need it are refused."""


class InvalidConfiguration(ServiceError):
    """Lists every problem found in the configuration, one to a line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
