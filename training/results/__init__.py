"""What happened after a scoring run: observed churn against the predictions, and the effect of the campaign."""
