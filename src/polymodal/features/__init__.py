"""The store of what frozen encoders put out; importing this package imports nothing heavy."""
