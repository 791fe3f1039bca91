"""Tasks and goals: what may happen to one, and how it is put on the log."""
