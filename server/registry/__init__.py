"""Which models and which policy serve now: watched files, read again while the server runs."""
