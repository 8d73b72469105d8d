"""Identity of callers: a certificate or token identifies the caller, and the authority file states its permissions."""
