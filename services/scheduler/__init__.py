"""Turns time into events: fires, skips and misses what is due; has no leader."""
