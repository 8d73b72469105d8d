"""The equivalence check of the release gate: the exported files compute what LightGBM computes, or a row shows otherwise."""
