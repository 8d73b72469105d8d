"""The command line, one module for each area; `app` registers the commands."""
