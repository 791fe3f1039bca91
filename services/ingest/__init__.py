"""Reads files into memory, piece by piece; never calls a model."""
