"""The wire: subjects, the envelope and every event. Imports msgspec and nothing else."""
