"""The Hydra tree: a group's name is the top-level key and names what its options feed."""
