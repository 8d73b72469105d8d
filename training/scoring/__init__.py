"""Scoring runs and feature files, for `server load`."""
