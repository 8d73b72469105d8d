"""Drivers as a run file tells them, JSON by customer, into Arrow; all customers of a batch at once."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as pj

from server.stores.runs.arrow_chunks import DRIVERS

_PARSED_DRIVER = pa.struct(
    [("code", pa.string()), ("log_odds", pa.float64()), ("features", pa.list_(pa.string())), ("texts", pa.struct([]))]
)
_LINE_ENDS = r"[\r\n]"
_JSON_LIST = r"^\[.*\]$"
_CODE = r"^[A-Z][A-Z0-9_]{0,62}$"
_LOCALE = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$"
_RULE = "column 'drivers' must hold a JSON list of code, log_odds, features and texts, one of them in 'en'"


class DriversInvalid(ValueError):
    """Somebody's drivers could not be told."""


def parse_drivers(told: pa.Array) -> pa.Array:
    """Read the drivers of many customers.

    Args:
        told: JSON lists, one a customer, none missing.

    Returns:
        As many lists of the type DRIVERS.

    Raises:
        DriversWrong: A list is not one, or a driver lacks something that a reader is told.
    """
    alike = pc.and_(pc.match_substring_regex(told, _JSON_LIST), pc.invert(pc.match_substring_regex(told, _LINE_ENDS)))
    if not pc.all(alike).as_py():
        raise DriversInvalid(_RULE)
    if pc.all(pc.equal(told, "[]")).as_py():
        return pa.array([[]] * len(told), DRIVERS)
    lists = _parse_json(told)
    flat = lists.flatten()
    if flat.null_count or any(flat.field(name).null_count for name in ("code", "log_odds", "features", "texts")):
        raise DriversInvalid(_RULE)
    if not pc.all(pc.is_finite(flat.field("log_odds"))).as_py():
        raise DriversInvalid(_RULE)
    if (
        not pc.all(pc.match_substring_regex(flat.field("code"), _CODE)).as_py()
        or flat.field("features").flatten().null_count
    ):
        raise DriversInvalid(_RULE)
    texts = _text_maps(flat.field("texts"))
    struct = pa.StructArray.from_arrays(
        [flat.field("code"), flat.field("log_odds"), flat.field("features"), texts], fields=list(DRIVERS.value_type)
    )
    return pa.ListArray.from_arrays(_list_offsets(lists), struct, type=DRIVERS)


def _parse_json(told: pa.Array) -> pa.ListArray:
    """Read JSON, one list a customer."""
    lines = pc.binary_join_element_wise('{"d":', told, "}", "")
    content = "\n".join(lines.to_pylist()).encode()
    wanted = pa.schema([("d", pa.list_(_PARSED_DRIVER))])
    try:
        found = pj.read_json(
            io.BytesIO(content),
            read_options=pj.ReadOptions(block_size=len(content) + 1),
            parse_options=pj.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="infer"),
        )
    except pa.ArrowException as error:
        raise DriversInvalid(_RULE) from error
    lists = found["d"].combine_chunks()
    if len(lists) != len(told) or lists.null_count or found.num_columns != 1:
        raise DriversInvalid(_RULE)
    return lists


def _list_offsets(lists: pa.ListArray) -> pa.Array:
    """Give where each list begins in what flatten gives, and where the last one ends."""
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def _text_maps(texts: pa.StructArray) -> pa.Array:
    """Turn texts, one field a locale and null where it is not told, into maps; English must be in each."""
    locales = [field.name for field in texts.type]
    if "en" not in locales or texts.field("en").null_count or any(not _is_text(field) for field in texts.type):
        raise DriversInvalid(_RULE)
    if not pc.all(pc.match_substring_regex(pa.array(locales), _LOCALE)).as_py():
        raise DriversInvalid(_RULE)
    rows = len(texts)
    sentences = pa.concat_arrays([texts.field(locale).cast(pa.string()) for locale in locales])
    # Locale by locale becomes driver by driver.
    order = np.arange(rows * len(locales)).reshape(len(locales), rows).T.ravel()
    sentences = sentences.take(pa.array(order))
    keys = pa.DictionaryArray.from_arrays(np.tile(np.arange(len(locales), dtype=np.int32), rows), locales).cast(
        pa.string()
    )
    there = pc.is_valid(sentences)
    lengths = there.to_numpy(zero_copy_only=False).reshape(rows, len(locales)).sum(axis=1)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.MapArray.from_arrays(offsets, keys.filter(there), sentences.filter(there))


def _is_text(field: pa.Field) -> bool:
    """Tell whether a locale's field holds sentences; one that is null everywhere has no type."""
    return bool(pa.types.is_string(field.type) or pa.types.is_null(field.type))
