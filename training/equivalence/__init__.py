"""The equivalence check of the release gate, which checks that the exported files compute what LightGBM computes.

If the exported files differ from LightGBM, the check reports a row that shows the difference.
"""
