"""Names of header labels that several kinds of records use."""

SUBJECT_LABEL = "about"  # record_id of the record to which an override, an outcome or a reading of evidence refers
