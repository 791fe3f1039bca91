"""Reads documents: finds their text, divides it, and keeps what can be found up to date."""
