"""Reads a table of customers or a transaction log, and converts it to rows with features, a label and a part."""
