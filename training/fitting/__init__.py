"""Fits models: the parameter search, LightGBM, the calibration, and the benchmark models (rivals)."""
