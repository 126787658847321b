"""Prediction tables to one prediction table; importing this package imports no torch."""
