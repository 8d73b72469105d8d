"""Source files that a caller states on the command line."""

from pathlib import Path

from training.errors import SpecInvalid


def reject_status(status: Path | None) -> None:
    """Raise SpecInvalid if --status is given for a family without a transaction log."""
    if status is not None:
        raise SpecInvalid("--status requires a spec with a [log]; exclude customers of a [table] with table.exclude")
