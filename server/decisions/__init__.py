"""Decision logic as pure functions: no transport, no database, no clock."""
