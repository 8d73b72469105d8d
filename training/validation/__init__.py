"""Measures a candidate model as a validator does, on the answers of the exported files.

The formulas are in `training.measures`. Each module here applies some of them to a `ScoredSample`.
"""
