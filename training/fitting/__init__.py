"""Fits models: the parameter search, LightGBM, the calibration, and the rivals to compare with."""
