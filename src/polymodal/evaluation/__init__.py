"""Prediction tables to scores; importing this package imports no score and no torch."""
