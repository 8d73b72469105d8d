"""Tables about the customers of a transaction log: who moved or merged, and whose relationship ended."""
