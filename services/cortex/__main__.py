"""Run the cortex alone: `python -m services.cortex`."""

from services.runtime.main import main

main("cortex")
