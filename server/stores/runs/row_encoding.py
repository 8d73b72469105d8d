"""Encodes a row of a scoring run for hashing: as the leaf of a Merkle tree, or as earlier releases did, for one digest over all rows."""

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
# The keys that the database alone assigns are not part of what was loaded.
ROW_COLUMNS = tuple(sorted(column.name for column in RISKS.c if column.name not in {"run_id", "run_number", "chunk"}))
_DOUBLES = ("log_odds", "pd", "decline_pd")
_INTEGERS = ("rank", "value_at_risk_minor", "expected_spend_minor")


def encode_row(row: _Columns, salt_key: bytes) -> bytes:
    """Return the data of a row's leaf: a ChurnRiskRow, serialised.

    Leaves outlive an erasure, and a row without a score has little more than an id. So a salt, which only the log's own key
    derives, keeps anybody from guessing a row and comparing its hash.

    Args:
        row: Columns of RISKS.
        salt_key: From run_salt_key.

    Raises:
        TypeError, ValueError: A value has a type that is never loaded: somebody changed the row.
    """
    numbers: dict[str, Any] = {name: row[name] for name in _INTEGERS}
    for name in _DOUBLES:
        # SQLite returns -0.0 as 0.0: adding 0.0 hashes what both databases return.
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
    """Return the leaf hash of a row; b"", which is no leaf's hash, if the row cannot be encoded."""
    try:
        return leaf_hash(encode_row(row, salt_key))
    except (TypeError, ValueError):
        return b""


def legacy_rows_digest(hashes: Iterable[bytes]) -> bytes:
    """Return the digest that an earlier release recorded of a run's rows, from their hashes in any order."""
    return hashlib.sha256(b"".join(sorted(hashes))).digest()


def legacy_row_sha256(row: _Columns) -> bytes:
    """Return the hash of a row as an earlier release computed it: names in order, each value with its type and length."""
    digest = hashlib.sha256()
    for name in ROW_COLUMNS:
        content = _legacy_value(row[name])
        digest.update(b"%s %d " % (name.encode(), len(content)) + content)
    return digest.digest()


def _legacy_value(value: Any) -> bytes:
    """Return a value with its type, bit for bit."""
    if value is None:
        return b"-"
    if isinstance(value, float):
        return b"d" + struct.pack("<d", value)
    if isinstance(value, int):  # a boolean too: SQLite stores it as a number
        return b"i%d" % value
    return b"s" + (value.encode() if isinstance(value, str) else as_bytes(value))
