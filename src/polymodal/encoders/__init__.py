"""One modality to a sequence of vectors; importing this package imports no encoder."""
