"""Measures a candidate model as an independent validator would, who uses only the outputs of the exported files.

The formulas are in `training.measures`. Each module here applies some of these formulas to a `ScoredSample`.
"""
