"""What can be known to be wrong before data or accelerator time is spent."""
