"""Loads feature and run files: validates a file completely before any of its rows becomes visible."""
