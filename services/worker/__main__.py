"""Run the worker service alone: `python -m services.worker`."""

from services.runtime.main import main

main("worker")
