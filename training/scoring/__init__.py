"""Scores customers, and writes the feature files and run files that `python -m server load` reads."""
