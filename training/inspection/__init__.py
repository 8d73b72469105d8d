"""Describes an unknown file before anybody writes a spec, and writes a starter spec for it."""
