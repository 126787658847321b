"""One local page over all runs: a server that only reads, and what the browser gets from it."""
