"""Run the branch service alone: `python -m services.branch`."""

from services.runtime.main import main

main("branch")
