"""Corpora of features that other programs have computed."""
