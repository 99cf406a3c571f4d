"""Measurements of speed; each module is a command, `python -m benchmarks.NAME`."""
