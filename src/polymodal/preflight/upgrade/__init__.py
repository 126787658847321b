"""Rewrites configurations and code of older releases for the installed ones."""
