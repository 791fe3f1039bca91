"""Parts of `penstock ingest`: which files, how they get there, and what is shown meanwhile."""
