"""Run the command line of grounds_client from a checkout: `python -m client`."""

import sys

from grounds_client.__main__ import main
from grounds_client.commands.app import app

__all__ = ["app", "main"]

if __name__ == "__main__":
    sys.exit(main())
