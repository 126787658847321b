"""Pages of runs, studies and corpora, their charts, and model cards."""
