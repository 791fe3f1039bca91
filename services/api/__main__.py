"""Run the api service alone: `python -m services.api`."""

from services.runtime.main import main

main("api")
