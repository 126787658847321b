"""Late fusion: prediction tables to one prediction table; importing it imports no torch."""
