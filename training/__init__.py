"""From tables to files: features, split, fit, calibrate, export, evaluate, release."""
