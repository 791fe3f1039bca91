"""Run the compactor alone: `python -m services.compactor`."""

from services.runtime.main import main

main("compactor")
