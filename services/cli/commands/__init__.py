"""The commands, one module for each word; imported when the command runs."""
