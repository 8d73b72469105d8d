"""SQL expressions and conditions of a spec: checks them, and states in words of the spec why one is rejected."""
