"""Measures a model on rows on which it was not fitted, and assigns a name to every figure."""
