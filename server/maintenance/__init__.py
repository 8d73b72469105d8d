"""What operators do to a database: erase, retain, examine."""
