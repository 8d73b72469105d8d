"""Reads a table of customers or a transaction log into samples: rows with features, label and part."""
