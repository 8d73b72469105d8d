"""CreditService: decisions, simulations, overrides and outcomes for the loan desk."""
