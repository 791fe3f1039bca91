"""Drive today's code on what was recorded, with no effects, and see where it decides otherwise."""
