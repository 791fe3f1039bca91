"""Run the channel service alone: `python -m services.channel`."""

from services.runtime.main import main

main("channel")
