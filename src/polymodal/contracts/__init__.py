"""The records that travel between rooms; importing this package imports none of them."""
