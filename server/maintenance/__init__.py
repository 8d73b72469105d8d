"""Maintenance of the database: erasure, legal holds, retention, and the checks of `doctor`."""
