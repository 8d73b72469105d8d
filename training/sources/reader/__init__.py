"""Reads files of any format strictly: every value is read exactly as its owner means it, or the file is rejected."""
