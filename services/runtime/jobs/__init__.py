"""Jobs as their own streams tell them: when they are due, what became of it, and why."""
