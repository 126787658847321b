"""Splits, reading of audio, text and signals, collation and length-bucketed batches."""
