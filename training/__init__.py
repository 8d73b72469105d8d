"""From tables to files: features, split, fit, calibrate, export, evaluate, release."""

import os

# LightGBM's threads wait for each other actively by default. On a machine whose cores are busy with something else, a
# waiting thread then takes the core from the one it waits for: a fit of 50 s was seen to take over 9 minutes.
# The OpenMP runtime reads this once, when LightGBM is loaded; what an operator has set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
