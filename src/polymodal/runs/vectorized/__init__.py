"""Train many small heads on stored features in one pass."""
