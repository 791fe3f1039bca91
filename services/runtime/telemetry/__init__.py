"""Traces and metrics for OpenTelemetry: most of them read off the log, the rest measured live."""
