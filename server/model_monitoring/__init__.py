"""Monitors models by what was served: drift of inputs, decisions, and outcomes by vintage."""
