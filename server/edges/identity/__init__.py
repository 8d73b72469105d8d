"""Identity of callers: a certificate or a token identifies the caller, and the authority file states its permissions."""
