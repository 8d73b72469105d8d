"""Bundles and policies that serve."""
