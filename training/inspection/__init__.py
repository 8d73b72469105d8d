"""Describes an unknown file for which no spec exists yet, and writes a starter spec for the file."""
