"""Does one task at a time per run, with a shell and files inside a sandbox, and reports."""
