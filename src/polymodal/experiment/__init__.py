"""An experiment as objects, and the one place that builds its parts."""
