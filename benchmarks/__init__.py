"""Figures beside their limits, each one command: `python -m benchmarks [NAME ...]`."""
