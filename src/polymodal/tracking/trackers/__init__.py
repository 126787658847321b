"""Trackers: copies of the run folder elsewhere, which may fail without harm."""
