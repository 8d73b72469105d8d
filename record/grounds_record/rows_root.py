"""The header label with the Merkle root over the rows of a scoring run in one market.

For the market FR, the name of the label is `rows_fr`. Its value consists of the number of rows, a colon, and the root in
hexadecimal, for example `30:9f...`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_LABEL_PREFIX = "rows_"


@dataclass(frozen=True, slots=True)
class RowsRoot:
    """The number of rows of a scoring run in one market, and the Merkle root over these rows.

    Attributes:
        size: The number of rows.
        root: The root of the tree over the sorted leaf hashes of the rows, 32 bytes.
    """

    size: int
    root: bytes

    def text(self) -> str:
        """Return the value of the label."""
        return f"{self.size}:{self.root.hex()}"


def rows_root_label(market: str) -> str:
    """Return the name of the label for a market."""
    return _LABEL_PREFIX + market.lower()


def parse_rows_root(labels: Mapping[str, str], market: str) -> RowsRoot | None:
    """Parse the label for a market; return None if there is no such label. Runs that an earlier release loaded have no label.

    Raises:
        ValueError: The value of the label is malformed.
    """
    size, _, root = labels.get(rows_root_label(market), "").partition(":")
    return RowsRoot(int(size), bytes.fromhex(root)) if root else None
