"""Manifest, batch, predictions and run record: what travels between the packages."""
