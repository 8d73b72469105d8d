"""Standard measures of a model: ranking, calibration, stability, information, fairness, profit; pure functions."""
