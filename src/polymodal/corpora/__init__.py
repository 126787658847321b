"""Readers: each turns the raw folder of a corpus into a manifest."""
