"""A row of a run as it is hashed: today as a leaf of a tree, by earlier releases into one digest over all rows."""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import RowMapping

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.customer_keys import row_salt
from grounds_record.merkle import leaf_hash
from server.stores.record_log.entries import as_bytes
from server.stores.tables import RISKS

Columns = Mapping[str, Any] | RowMapping
# What the database alone knows a row by is not what was loaded.
ROW_COLUMNS = tuple(sorted(column.name for column in RISKS.c if column.name not in {"run_id", "run_number", "chunk"}))
DOUBLES = ("log_odds", "pd", "decline_pd")
INTEGERS = ("rank", "value_at_risk_minor", "expected_spend_minor")


def encode_row(row: Columns, salt_key: bytes) -> bytes:
    """Write a row of RISKS as the data of its leaf: a ChurnRiskRow.

    Raises:
        TypeError: A value is of a kind that nobody loads: somebody else has put it there.
        ValueError: Likewise.
    """
    numbers: dict[str, Any] = {name: row[name] for name in INTEGERS}
    for name in DOUBLES:
        # SQLite gives -0.0 back as 0.0: what is hashed is what both databases keep.
        numbers[name] = None if row[name] is None else row[name] + 0.0
    return pb.ChurnRiskRow(
        customer_id=row["customer_id"],
        status=row["status"],
        band=row["band"],
        previous_band=row["previous_band"],
        band_since_us=row["band_since"],
        hold_out=bool(row["hold_out"]),
        suppressions=row["suppressions"],
        drivers=row["drivers"],
        features=as_bytes(row["features"]),
        contributions=as_bytes(row["contributions"]),
        salt=row_salt(row["customer_id"], salt_key),
        **numbers,
    ).SerializeToString(deterministic=True)


def row_leaf(row: Columns, salt_key: bytes) -> bytes:
    """Give the leaf hash of a row; of one that cannot be written, b"", which is no leaf's."""
    try:
        return leaf_hash(encode_row(row, salt_key))
    except (TypeError, ValueError):
        return b""


def legacy_rows_digest(hashes: Iterable[bytes]) -> bytes:
    """Give the digest of the rows of a run that an earlier release recorded, from their hashes in any order."""
    return hashlib.sha256(b"".join(sorted(hashes))).digest()


def legacy_row_sha256(row: Columns) -> bytes:
    """Hash a row of a run that an earlier release recorded."""
    digest = hashlib.sha256()
    for name in ROW_COLUMNS:
        content = value_bytes(row[name])
        digest.update(b"%s %d " % (name.encode(), len(content)) + content)
    return digest.digest()


def value_bytes(value: Any) -> bytes:
    """Write a value with its type, to the bit."""
    if value is None:
        return b"-"
    if isinstance(value, float):
        return b"d" + struct.pack("<d", value)
    if isinstance(value, int):  # a boolean too: SQLite keeps it as a number
        return b"i%d" % value
    return b"s" + (value.encode() if isinstance(value, str) else as_bytes(value))
