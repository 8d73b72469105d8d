"""The label by which a churn run's header names the root over the run's rows in one market.

The label of market FR is `rows_fr`, its text `30:9f...`: the number of rows, and the root in hexadecimal.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_LABEL_PREFIX = "rows_"


@dataclass(frozen=True, slots=True)
class RowsRoot:
    """The rows of a run in one market, as the run's header names them.

    Attributes:
        size: The number of rows.
        root: The root of the tree over their leaf hashes, sorted; 32 bytes.
    """

    size: int
    root: bytes

    def text(self) -> str:
        """Return the text of the label."""
        return f"{self.size}:{self.root.hex()}"


def rows_root_label(market: str) -> str:
    """Return the name of a market's label."""
    return _LABEL_PREFIX + market.lower()


def parse_rows_root(labels: Mapping[str, str], market: str) -> RowsRoot | None:
    """Parse the label of a market; None if the header has none, as of a run that an earlier release loaded.

    Raises:
        ValueError: The text of the label is malformed.
    """
    size, _, root = labels.get(rows_root_label(market), "").partition(":")
    return RowsRoot(int(size), bytes.fromhex(root)) if root else None
