"""Scoring runs of churn predictions."""
