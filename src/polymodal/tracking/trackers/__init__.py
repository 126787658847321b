"""Trackers: mirrors of the run folder that may fail without harm."""
