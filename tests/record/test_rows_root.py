"""The label that names the root over a run's rows."""

import pytest

from grounds_record.rows_root import RowsRoot, parse_rows_root, rows_root_label

ROOT = RowsRoot(30, bytes(range(32)))


def test_a_root_is_read_from_the_labels_that_it_was_written_to() -> None:
    labels = {"run": "r", rows_root_label("FR"): ROOT.text()}

    assert labels["rows_fr"] == f"30:{ROOT.root.hex()}"
    assert parse_rows_root(labels, "FR") == ROOT
    assert parse_rows_root(labels, "DE") is None


@pytest.mark.parametrize("text", ["x:00", "30:zz"])
def test_a_malformed_label_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|non-hexadecimal"):
        parse_rows_root({"rows_fr": text}, "FR")
