"""Rewrite old YAML and Python for the installed libraries."""
