"""What a caller installs: a typed client with deadlines and retries, and its command line."""
