"""What the standard variables of OpenTelemetry ask for; nothing where none of them is set."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

PREFIX: Final = "OTEL_"
EXPORTERS: Final = ("otlp", "console")
PROTOCOL: Final = "http/protobuf"

Signal = Literal["traces", "metrics"]


class Wanted(NamedTuple):
    """Which exporters there should be of each signal."""

    traces: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    @property
    def anything(self) -> bool:
        """Tell whether the SDK is needed at all."""
        return bool(self.traces or self.metrics)


def wanted(environ: Mapping[str, str]) -> Wanted:
    """Return what the variables ask for.

    An exporter is named by `OTEL_TRACES_EXPORTER` or `OTEL_METRICS_EXPORTER`, or implied by an
    endpoint: a program that exports to a collector nobody named would log failures for ever.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Wanted()
    return Wanted(_exporters(environ, "traces"), _exporters(environ, "metrics"))


def problems(environ: Mapping[str, str]) -> list[str]:
    """Return what is asked for and cannot be had."""
    found = []
    asked = wanted(environ)
    for signal, exporters in (("traces", asked.traces), ("metrics", asked.metrics)):
        variable = f"OTEL_{signal.upper()}_EXPORTER"
        found += [
            f"{variable}: there is no exporter {name!r}; there are: otlp, console, none"
            for name in exporters
            if name not in EXPORTERS
        ]
        names = ("OTEL_EXPORTER_OTLP_PROTOCOL", f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
        if "otlp" in exporters:
            found += [
                f"{name}: {environ[name]!r} is not spoken here; {PROTOCOL} is"
                for name in names
                if environ.get(name, PROTOCOL).strip() not in {"", PROTOCOL}
            ]
    return list(dict.fromkeys(found))


def _exporters(environ: Mapping[str, str], signal: Signal) -> tuple[str, ...]:
    named = environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip()
    if named:
        each = (name.strip().lower() for name in named.split(","))
        return tuple(name for name in dict.fromkeys(each) if name not in {"", "none"})
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    return ("otlp",) if any(environ.get(name, "").strip() for name in endpoints) else ()
