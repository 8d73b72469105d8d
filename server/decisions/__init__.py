"""Values in, a value out: no transport, no database, no clock."""
