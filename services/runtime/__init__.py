"""What every service stands on: the log, runs, models, tools, settings, servers."""
