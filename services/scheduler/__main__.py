"""Run the scheduler service alone: `python -m services.scheduler`."""

from services.runtime.main import main

main("scheduler")
