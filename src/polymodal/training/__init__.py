"""The Lightning module and its callbacks, losses, optimisers and schedules, checkpoints."""
