"""What training tells: tables on the terminal, card.md for readers, report.html for validators."""
