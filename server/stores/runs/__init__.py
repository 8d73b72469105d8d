"""Scoring runs of churn predictions: staging, publication, reading, changes between runs, evidence and erasure."""
