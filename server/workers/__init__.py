"""Several server processes on one port: a supervisor starts workers, replaces those that end, and stops them."""
