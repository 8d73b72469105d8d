"""CreditService."""
