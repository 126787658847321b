"""Validate the files of a manifest."""
