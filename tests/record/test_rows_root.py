"""The header label with the root over the rows of a scoring run."""

import pytest

from grounds_record.rows_root import RowsRoot, parse_rows_root, rows_root_label

ROOT = RowsRoot(30, bytes(range(32)))


def test_a_rows_root_is_parsed_from_its_label() -> None:
    labels = {"run": "r", rows_root_label("FR"): ROOT.text()}

    assert labels["rows_fr"] == f"30:{ROOT.root.hex()}"
    assert parse_rows_root(labels, "FR") == ROOT
    assert parse_rows_root(labels, "DE") is None


@pytest.mark.parametrize("text", ["x:00", "30:zz"])
def test_a_malformed_label_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|non-hexadecimal"):
        parse_rows_root({"rows_fr": text}, "FR")
