"""Thinks on a fork of a conversation, with long-term memory, and hands back one conclusion."""
