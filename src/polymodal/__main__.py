"""Lets `python -m polymodal` do what `polymodal` does."""

import sys

from polymodal.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
