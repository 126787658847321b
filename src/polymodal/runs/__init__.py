"""Train, evaluate, reproduce and record runs."""
