"""Releases a model: fits it, freezes baseline and golden rows, checks the release gates, writes the bundle."""
