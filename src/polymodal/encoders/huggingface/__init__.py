"""Pretrained encoders of the Hugging Face layout."""
