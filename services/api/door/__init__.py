"""Decides who may come in, and knows browsers again."""
