"""Output of the server's answers in a terminal, with rich."""
