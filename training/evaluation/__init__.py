"""Measures a model on rows it was not fitted on, and names every figure."""
