"""ChurnService: predictions of scoring runs for the CRM."""
