"""Labels of record headers that more than one kind of record has."""

SUBJECT_LABEL = "about"  # record_id of the record that an override, an outcome or a reading of evidence refers to
