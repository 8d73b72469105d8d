"""Feature and run files into the database."""
