"""The operator's command line: one module a group of commands, assembled in `cli`."""
