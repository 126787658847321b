"""The rules by which configurations and experiments are judged; each exists once."""
