"""One package per process; they meet in the log and never import one another."""
