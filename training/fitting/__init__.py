"""Fits and calibrates: the parameter search, LightGBM, the calibration, and simpler rules to compare with."""
