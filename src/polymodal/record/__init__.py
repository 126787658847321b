"""The run folder, its journal, the index of runs, and the trackers that mirror it."""
