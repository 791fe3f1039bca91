"""Read models: events in, rows out. Each can be dropped and rebuilt from the log."""
