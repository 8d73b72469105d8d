"""The columns by which a store finds records: each a copy of something in the header, and worth nothing without it.

They are not under the leaf hash; but as every one follows from the header, which is, a changed one is found by deriving it
again.
"""

from collections.abc import Mapping

from grounds_record.header import Header

LABELS = {"market": "market", "bundle_id": "bundle", "decision": "decision", "grade": "grade"}  # column: label


def header_columns(header: Header) -> dict[str, str]:
    """Derive the columns from a header, by name; one that would be empty is left out."""
    found = {
        "kind": header.kind,
        "record_id": header.record_id,
        "time_us": str(header.time_us),
        "caller": header.caller,
        "request_id": header.request_id,
        "key_id": header.key_id,
        "customer_tag": header.customer_tag,
        "content_tag": header.content_tag,
    }
    found |= {column: header.labels.get(label, "") for column, label in LABELS.items()}
    return {name: text for name, text in found.items() if text}


def mismatched_columns(header: Header, stored: Mapping[str, str]) -> list[str]:
    """Name the stored columns that do not follow from the header, those that are missing or too many included."""
    derived = header_columns(header)
    return sorted(name for name in {*derived, *stored} if derived.get(name) != stored.get(name))
