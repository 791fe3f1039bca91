"""Log lines of a process: JSON in a pod, colours on a terminal, libraries only when they warn.

Never logged: message text, prompts, tool output, secrets. Log ids and sizes.
"""

import logging
import sys
from collections.abc import Iterable
from typing import Final, Literal, TextIO

import structlog
from structlog.typing import Processor

from services.runtime.telemetry.context import current

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]

NOISY: Final = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "uvicorn", "uvicorn.error")


def configure(
    *,
    service: str,
    format: Format = "auto",  # noqa: A002 - the setting's name
    level: Level = "info",
    stream: TextIO | None = None,
    echo: TextIO | None = None,
) -> None:
    """Set up structlog and the standard library's logging; safe to repeat.

    Args:
        service: Bound to every line as `service`.
        format: `auto` is `console` when `stream` is a terminal, else `json`.
        level: Lowest level of our own lines. Libraries are heard from `warning` on.
        stream: Where lines go. None: standard output.
        echo: Where warnings go as well, for a person to see, without tracebacks.
    """
    stream = stream or sys.stdout
    is_json = format == "json" or (format == "auto" and not stream.isatty())
    shared = _shared(service)
    lowest = logging.getLevelNamesMapping()[level.upper()]
    echoing: list[Processor] = [_echoing(echo)] if echo else []
    structlog.configure(
        processors=[*shared, *echoing, *_rendering(is_json=is_json, is_terminal=stream.isatty())],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,  # so that it can be repeated, in tests above all
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *echoing,
                *_rendering(is_json=is_json, is_terminal=stream.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(lowest, logging.WARNING))
    quieten(NOISY)


def quieten(names: Iterable[str]) -> None:
    """Take away the handlers that libraries gave themselves, so that ours writes their lines.

    A library that adds them when it is imported (LiteLLM) is to be quietened after that.
    """
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


def _shared(service: str) -> list[Processor]:
    def add_service(_: object, __: str, event: structlog.typing.EventDict) -> dict[str, object]:
        return {"service": service, **event}

    return [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        add_service,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]


def _add_trace(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Say in which span of which trace a line was written, where anything is traced."""
    here = current()
    if here is not None and here.trace_id:
        event["trace_id"], event["span_id"] = here.trace_id, here.span_id
    return event


def _echoing(echo: TextIO) -> Processor:
    render = structlog.dev.ConsoleRenderer(colors=echo.isatty(), timestamp_key="at")

    def write(logger: object, name: str, event: structlog.typing.EventDict) -> dict[str, object]:
        if event.get("level") in {"warning", "error", "critical"}:
            shown = {key: value for key, value in event.items() if key != "exc_info"}
            echo.write(f"{render(logger, name, shown)}\n")
            echo.flush()
        return dict(event)

    return write


def _rendering(*, is_json: bool, is_terminal: bool) -> list[Processor]:
    if is_json:
        return [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ]
    # Plain tracebacks: rich ones print local variables, and those may hold secrets and messages.
    plain = structlog.dev.plain_traceback
    return [
        structlog.dev.ConsoleRenderer(
            colors=is_terminal, exception_formatter=plain, timestamp_key="at"
        )
    ]
