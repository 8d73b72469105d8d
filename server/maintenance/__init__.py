"""Maintains the database: erasure, legal holds, retention, adoption of forks, and the checks of `doctor`."""
