"""Loading of feature and run files: validation, then one visible step."""
