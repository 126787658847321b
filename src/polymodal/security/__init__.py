"""Allowed targets, paths inside their root, atomic files."""
