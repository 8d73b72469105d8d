"""The models and the policy in force, reloaded from their files while the server runs."""
