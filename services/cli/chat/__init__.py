"""A person in a conversation, at a terminal or through a pipe, over the HTTP interface."""
