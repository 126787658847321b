"""The run folder, its metrics log, the index of runs, and the trackers that copy it."""
