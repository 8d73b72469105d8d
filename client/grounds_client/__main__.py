"""The console script `grounds`, and `python -m grounds_client`."""

import sys

_CLI_PACKAGES = {"cryptography", "pyarrow", "rich", "typer"}


def main() -> int:
    """Run the command line. If a package of the extra `cli` is missing, print how to install the extra."""
    try:
        from grounds_client.commands.app import main as run

        return run()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _CLI_PACKAGES:
            raise
        sys.stderr.write(
            f'error: the command line needs the package {package}; run: pip install "grounds-client[cli]"\n'
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
