"""Writes feature files and run files, which `python -m server load` reads."""
