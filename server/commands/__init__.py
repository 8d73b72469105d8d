"""The operator's command line, with one module for each group of commands. `cli` assembles them."""
