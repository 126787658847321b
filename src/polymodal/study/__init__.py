"""Folds x seeds x members as one experiment: its plan, results and report."""
