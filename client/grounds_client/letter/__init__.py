"""Letters to the person concerned: the decision, its reasons, what would change it, and how to request human review."""
