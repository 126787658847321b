"""The Hydra tree composed, its values traced to their files, and sections instantiated."""
