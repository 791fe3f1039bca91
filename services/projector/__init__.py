"""The projector: feeds read models from the log, rebuilds them, checks the log by its archive."""
