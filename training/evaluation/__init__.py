"""What training finds out about a model, figure by figure."""
