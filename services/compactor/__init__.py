"""Keeps conversations within the window of their model; never blocks one."""
