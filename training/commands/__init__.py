"""The work of each command of `python -m training`; a command imports only what it needs."""
