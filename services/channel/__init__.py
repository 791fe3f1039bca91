"""Talks with people, one conversation at a time each; delegates everything that takes long."""
