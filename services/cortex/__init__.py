"""Tends what is remembered: briefings, associations, supervision; idle when nothing changed."""
