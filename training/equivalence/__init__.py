"""The release gate: proves that exported files say what LightGBM says, or shows a row on which they do not."""
