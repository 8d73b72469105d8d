"""Header columns: the columns of a store by which records are found. Each repeats a part of the header.

They are not part of the leaf hash. But each follows from the header, which is, so a changed column is detected by deriving
it again.
"""

from collections.abc import Mapping

from grounds_record.header import Header

_LABEL_COLUMNS = {"market": "market", "bundle_id": "bundle", "decision": "decision", "grade": "grade"}  # column: label


def header_columns(header: Header) -> dict[str, str]:
    """Return the columns of a header, by name; empty ones are left out."""
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
    """Return the names of the stored columns that differ from the header's, missing and additional ones included; sorted."""
    derived = header_columns(header)
    return sorted(name for name in {*derived, *stored} if derived.get(name) != stored.get(name))
