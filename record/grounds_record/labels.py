"""Labels of record headers that more than one program reads or writes."""

SUBJECT_LABEL = "about"  # record_id of the record that an override, an outcome or a reading of evidence refers to


def run_root_label(market: str) -> str:
    """Return the label under which a scoring run's record has the number of rows and their root hash in a market."""
    return f"rows_{market.lower()}"
