"""Validate an experiment before data or accelerator time is spent."""
