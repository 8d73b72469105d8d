"""Computes the leaf hashes of many rows of a scoring run, column by column.

The leaf data have the same bytes as those of `row_encoding.encode_row`, which builds one protobuf message for each row and takes
several times as long. `load` uses this module. The serving process does not, because it imports pyarrow.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.customer_keys import row_salts
from grounds_record.merkle import leaf_hash

_VARINT_BITS = np.arange(0, 64, 7, dtype=np.uint64)  # a varint has 7 bits in each byte, and at most 10 bytes
_LOW_BITS = np.uint64(0x7F)
_CONTINUES = np.uint8(0x80)
_VARINT, _FIXED64, _LENGTH_DELIMITED = 0, 1, 2  # wire types
_COLUMN_OF_FIELD = {"band_since_us": "band_since"}  # all other fields have the name of their column


def leaf_hashes(columns: Mapping[str, pa.Array], salt_key: bytes) -> list[bytes]:
    """Return the leaf hash of each row.

    Args:
        columns: The columns of RISKS by name, except run_number and chunk.
        salt_key: Result of `run_salt_key`.
    """
    return [leaf_hash(data) for data in encode_rows(columns, salt_key).to_pylist()]


def encode_rows(columns: Mapping[str, pa.Array], salt_key: bytes) -> pa.Array:
    """Return the leaf data of each row: a serialised ChurnRiskRow, as from `encode_row`."""
    salts = row_salts(columns["customer_id"].to_pylist(), salt_key)
    columns = {**columns, "salt": pa.array(salts, pa.binary())}
    parts: list[pa.Array] = []
    # The deterministic form of a message has its fields in the order of their numbers.
    fields: dict[int, Any] = dict(pb.ChurnRiskRow.DESCRIPTOR.fields_by_number)
    for _, field in sorted(fields.items()):
        parts += _field_parts(field, columns[_COLUMN_OF_FIELD.get(field.name, field.name)])
    return pc.binary_join_element_wise(*parts, b"")


def _field_parts(field: Any, column: pa.Array) -> list[pa.Array]:
    """Return the bytes of a field in each row, as arrays to be joined."""
    if field.type in {field.TYPE_STRING, field.TYPE_BYTES}:
        texts = pc.fill_null(column.cast(pa.binary()), b"")
        lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False)
        return [_tagged_varints(field.number, _LENGTH_DELIMITED, lengths, lengths > 0), texts]
    present = pc.is_valid(column).to_numpy(zero_copy_only=False)
    if field.type == field.TYPE_DOUBLE:
        return [_tagged_doubles(field.number, column, present)]
    values = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    if field.type == field.TYPE_BOOL:
        present = values != 0  # a field that is not optional is absent if it has the default value
    return [_tagged_varints(field.number, _VARINT, values, present)]


def _tagged_varints(number: int, wire_type: int, values: NDArray[Any], present: NDArray[np.bool_]) -> pa.Array:
    """Return a tag and an integer for each row; b"" where the field is absent."""
    groups = values.astype(np.int64).view(np.uint64)[:, None] >> _VARINT_BITS
    used = groups != 0
    used[:, 0] = True
    content = (groups & _LOW_BITS).astype(np.uint8)
    content[:, :-1] |= used[:, 1:] * _CONTINUES
    return _join_tag(number, wire_type, content, used & present[:, None], present)


def _tagged_doubles(number: int, column: pa.Array, present: NDArray[np.bool_]) -> pa.Array:
    """Return a tag and 8 bytes for each row; b"" where the field is absent. -0.0 becomes 0.0, as in `encode_row`."""
    values = pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False) + 0.0
    content = values.astype("<f8").view(np.uint8).reshape(-1, 8)
    return _join_tag(number, _FIXED64, content, np.repeat(present[:, None], 8, axis=1), present)


def _join_tag(
    number: int, wire_type: int, content: NDArray[np.uint8], used: NDArray[np.bool_], present: NDArray[np.bool_]
) -> pa.Array:
    """Return the used bytes of each row, after the tag of the field where it is present."""
    first_byte, second_byte = (number << 3 | wire_type) & 0x7F, number >> 4
    tag = [first_byte] if not second_byte else [first_byte | int(_CONTINUES), second_byte]
    rows = len(content)
    whole = np.hstack([np.broadcast_to(np.array(tag, dtype=np.uint8), (rows, len(tag))), content])
    mask = np.hstack([np.repeat(present[:, None], len(tag), axis=1), used])
    offsets = np.zeros(rows + 1, dtype=np.int32)
    np.cumsum(mask.sum(axis=1), out=offsets[1:])
    return pa.BinaryArray.from_buffers(pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(whole[mask])])
