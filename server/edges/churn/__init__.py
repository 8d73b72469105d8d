"""ChurnService."""
