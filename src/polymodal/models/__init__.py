"""Sequences to logits: unimodal heads and fusion models."""
