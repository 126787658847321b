"""Allowed targets, paths inside their root, safe loading, redaction."""
