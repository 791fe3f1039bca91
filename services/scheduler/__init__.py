"""Turns time into occurrences of jobs: each recorded once, by any number of replicas."""
