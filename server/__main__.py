"""Run the operator's command line from a checkout: `python -m server`."""

import sys

from server.commands.cli import app, main

__all__ = ["app", "main"]

if __name__ == "__main__":
    sys.exit(main())
