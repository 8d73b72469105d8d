"""Recording: what calls leave in the record log, and the queue that writes it."""
