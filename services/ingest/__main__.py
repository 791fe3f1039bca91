"""Run the ingest service alone: `python -m services.ingest`."""

from services.runtime.main import main

main("ingest")
