"""Letters to the person concerned: what was decided, why, what would have changed it, and how to ask for a review by a person."""
