"""Experiments as objects, and the only place that builds their components."""
