"""Encodes and hashes rows of a scoring run: as leaves of a Merkle tree, or for the one digest of earlier releases."""

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

_Columns = Mapping[str, Any] | RowMapping
# The columns that are hashed: all columns except the numbers of run and chunk.
ROW_COLUMNS = tuple(sorted(column.name for column in RISKS.c if column.name not in {"run_id", "run_number", "chunk"}))
_DOUBLES = ("log_odds", "pd", "decline_pd")
_INTEGERS = ("rank", "value_at_risk_minor", "expected_spend_minor")


def encode_row(row: _Columns, salt_key: bytes) -> bytes:
    """Return the leaf data of a row: a serialised ChurnRiskRow.

    Leaf hashes outlive an erasure, and a row without a score contains little more than an id. An attacker could therefore guess a
    row and compare its hash. The row is salted to prevent this; only the holder of the log's own key can derive the salt.

    Args:
        row: Values of the columns of RISKS.
        salt_key: Result of `run_salt_key`.

    Raises:
        TypeError, ValueError: A value has an invalid type, so the row was changed after it was loaded.
    """
    numbers: dict[str, Any] = {name: row[name] for name in _INTEGERS}
    for name in _DOUBLES:
        # SQLite returns -0.0 as 0.0. Adding 0.0 turns -0.0 into 0.0, so that both databases yield the same hash.
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


def row_leaf(row: _Columns, salt_key: bytes) -> bytes:
    """Return the leaf hash of a row; b"" if the row cannot be encoded. No valid leaf has the hash b""."""
    try:
        return leaf_hash(encode_row(row, salt_key))
    except (TypeError, ValueError):
        return b""


def legacy_rows_digest(hashes: Iterable[bytes]) -> bytes:
    """Return the digest over the rows of a run in the format of earlier releases. The row hashes may be in any order."""
    return hashlib.sha256(b"".join(sorted(hashes))).digest()


def legacy_row_sha256(row: _Columns) -> bytes:
    """Return the hash of a row in the format of earlier releases: name, length and typed value of each column."""
    digest = hashlib.sha256()
    for name in ROW_COLUMNS:
        content = _legacy_value(row[name])
        digest.update(b"%s %d " % (name.encode(), len(content)) + content)
    return digest.digest()


def _legacy_value(value: Any) -> bytes:
    """Return the bytes of a value, with a prefix for its type."""
    if value is None:
        return b"-"
    if isinstance(value, float):
        return b"d" + struct.pack("<d", value)
    if isinstance(value, int):  # includes booleans, which SQLite stores as numbers
        return b"i%d" % value
    return b"s" + (value.encode() if isinstance(value, str) else as_bytes(value))
