"""Releases a model: fits it, freezes the baseline and the golden rows, checks the release gates, and writes the bundle."""
