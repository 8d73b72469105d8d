"""What the field measures on a model: ranking, calibration, stability, information, money; pure functions."""
