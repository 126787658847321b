"""Members x folds x seeds as one experiment: its jobs, launcher and analysis."""
