"""One file a corpus: a raw folder becomes a manifest."""
