"""Answers of the server in a terminal, written with rich."""
