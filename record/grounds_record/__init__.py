"""What a record is: its bytes, the tree that they hang in, the checkpoints that prove it, and who checks them."""
