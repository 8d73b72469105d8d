"""Parses the column `drivers` of a run file, which contains one JSON list for each customer, into Arrow.

A batch is parsed in one call, because parsing customer by customer would take most of the load time of a large run.
"""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as pj

from grounds_record.printable_text import hidden_characters
from models.identifiers import CODE_PATTERN, LOCALE_PATTERN
from server.stores.runs.export_chunks import DRIVERS

_PARSED_DRIVER = pa.struct(
    [("code", pa.string()), ("log_odds", pa.float64()), ("features", pa.list_(pa.string())), ("texts", pa.struct([]))]
)
_ASCII_MAX = 0x7F
_CODE = f"^{CODE_PATTERN}$"
_LOCALE = f"^{LOCALE_PATTERN}$"
_RULE = "column 'drivers': must be a JSON list of objects with code, log_odds, features and texts, with a text in 'en'"


class DriversInvalid(ValueError):
    """The drivers of a customer are malformed."""


def parse_drivers(texts: pa.Array) -> pa.Array:
    """Parse the drivers of many customers.

    Args:
        texts: One JSON list for each customer, without nulls.

    Returns:
        An array with one list for each customer, of type DRIVERS.

    Raises:
        DriversInvalid: A text is not a JSON list, or a driver in it is incomplete or invalid.
    """
    if not pc.all(pc.and_(pc.starts_with(texts, "["), pc.ends_with(texts, "]"))).as_py():
        raise DriversInvalid(_RULE)
    if pc.all(pc.equal(texts, "[]")).as_py():
        return pa.array([[]] * len(texts), DRIVERS)
    lists = _parse_json(texts)
    flat = lists.flatten()
    if flat.null_count or any(flat.field(name).null_count for name in ("code", "log_odds", "features", "texts")):
        raise DriversInvalid(_RULE)
    if not pc.all(pc.is_finite(flat.field("log_odds"))).as_py():
        raise DriversInvalid(_RULE)
    if (
        not pc.all(pc.match_substring_regex(pc.unique(flat.field("code")), _CODE)).as_py()
        or flat.field("features").flatten().null_count
    ):
        raise DriversInvalid(_RULE)
    text_maps = _text_maps(flat.field("texts"))
    struct = pa.StructArray.from_arrays(
        [flat.field("code"), flat.field("log_odds"), flat.field("features"), text_maps], fields=list(DRIVERS.value_type)
    )
    return pa.ListArray.from_arrays(_list_offsets(lists), struct, type=DRIVERS)


def _parse_json(texts: pa.Array) -> pa.ListArray:
    """Parse the JSON lists, and return one Arrow list for each customer."""
    # Build JSON Lines with one object per customer. If a text closes its object early in order to inject keys or
    # objects, the number of lists or columns changes, and the check below rejects the texts.
    content = _joined_bytes(pc.binary_join_element_wise('{"d":', texts, "}\n", ""))
    if content.count(b"\n") != len(texts) or b"\r" in content:
        raise DriversInvalid(_RULE)
    schema = pa.schema([("d", pa.list_(_PARSED_DRIVER))])
    try:
        texts.validate(full=True)  # the texts are UTF-8, which neither Parquet nor the parser of JSON guarantees
        table = pj.read_json(
            io.BytesIO(content),
            read_options=pj.ReadOptions(block_size=len(content) + 1),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer"),
        )
    except pa.ArrowException as error:
        raise DriversInvalid(_RULE) from error
    lists = table["d"].combine_chunks()
    if len(lists) != len(texts) or lists.null_count or table.num_columns != 1:
        raise DriversInvalid(_RULE)
    return lists


def _list_offsets(lists: pa.ListArray) -> pa.Array:
    """Return the offsets of the lists in their flattened values: each start, and the end of the last list."""
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def _text_maps(texts: pa.StructArray) -> pa.Array:
    """Convert structs of texts into maps from locale to text. A text in English is required.

    The structs have one field for each locale. A field is null if the driver has no text in the locale.
    """
    locales = [field.name for field in texts.type]
    if "en" not in locales or texts.field("en").null_count or any(not _is_text(field) for field in texts.type):
        raise DriversInvalid(_RULE)
    if not pc.all(pc.match_substring_regex(pa.array(locales), _LOCALE)).as_py():
        raise DriversInvalid(_RULE)
    rows = len(texts)
    sentences = pa.concat_arrays([texts.field(locale).cast(pa.string()) for locale in locales])
    # Transpose: the texts are ordered by locale, then by driver, but a map needs them by driver, then by locale.
    order = np.arange(rows * len(locales)).reshape(len(locales), rows).T.ravel()
    sentences = sentences.take(pa.array(order))
    keys = pa.DictionaryArray.from_arrays(np.tile(np.arange(len(locales), dtype=np.int32), rows), locales).cast(
        pa.string()
    )
    present = pc.is_valid(sentences)
    lengths = present.to_numpy(zero_copy_only=False).reshape(rows, len(locales)).sum(axis=1)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    sentences = sentences.filter(present)
    if hidden_characters(_distinct_characters(sentences)):
        raise DriversInvalid("column 'drivers': a text must not contain control or invisible characters")
    return pa.MapArray.from_arrays(offsets, keys.filter(present), sentences)


def _distinct_characters(texts: pa.Array) -> str:
    """Return each character of the texts once. All texts together are examined, which is faster than one by one."""
    content = np.frombuffer(_joined_bytes(texts), dtype=np.uint8)
    is_ascii = content <= _ASCII_MAX
    ascii_characters = np.flatnonzero(np.bincount(content[is_ascii], minlength=1)).astype(np.uint8)
    # UTF-8 has no ASCII byte within another character, so the remaining bytes are whole characters.
    return ascii_characters.tobytes().decode() + "".join(set(content[~is_ascii].tobytes().decode()))


def _joined_bytes(texts: pa.Array) -> bytes:
    """Return the bytes of all texts one after another."""
    if not len(texts):
        return b""
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return bytes(texts.buffers()[2][int(offsets[0]) : int(offsets[-1])])


def _is_text(field: pa.Field) -> bool:
    """Return whether a locale's field contains strings. Arrow infers the type null for a field without values."""
    return bool(pa.types.is_string(field.type) or pa.types.is_null(field.type))
