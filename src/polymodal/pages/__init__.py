"""What HTML pages and printed tables are made of, and the page of a run."""
