"""Serves people and programs over HTTP: what they ask for becomes events, what they see is read.

Reads come from the read models, answers about a conversation's state and its stream from the log.
No state is held that another replica, or the next start, would need.
"""
