"""Header columns: database columns that repeat a part of the header so that records can be searched.

The leaf hash covers the header but not the columns. A changed column is detected because every column can be derived from the
header.
"""

from collections.abc import Mapping

from grounds_record.header import Header

_LABEL_COLUMNS = {"market": "market", "bundle_id": "bundle", "decision": "decision", "grade": "grade"}  # column: label


def header_columns(header: Header) -> dict[str, str]:
    """Return the columns of a header by name, without empty columns."""
    columns = {
        "kind": header.kind,
        "record_id": header.record_id,
        "time_us": str(header.time_us),
        "caller": header.caller,
        "request_id": header.request_id,
        "key_id": header.key_id,
        "customer_tag": header.customer_tag,
        "content_tag": header.content_tag,
    }
    columns |= {column: header.labels.get(label, "") for column, label in _LABEL_COLUMNS.items()}
    return {name: text for name, text in columns.items() if text}


def mismatched_columns(header: Header, stored: Mapping[str, str]) -> list[str]:
    """Return the sorted names of the columns that differ from the header, including missing and additional columns."""
    derived = header_columns(header)
    return sorted(name for name in {*derived, *stored} if derived.get(name) != stored.get(name))
