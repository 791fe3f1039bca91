"""Run the projector service alone: `python -m services.projector`."""

from services.runtime.main import main

main("projector")
