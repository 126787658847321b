"""A run as a self-contained folder for other programs."""
