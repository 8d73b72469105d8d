"""Where the rows come from: a table or a transaction log becomes samples."""
