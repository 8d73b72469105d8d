"""What the server keeps: the database, and the models and policy that it reads from files."""
