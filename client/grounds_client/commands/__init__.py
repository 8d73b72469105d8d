"""The command line, one module for each area; `app` puts the commands together."""
