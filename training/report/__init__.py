"""Reports an evaluation: tables in the terminal, card.md for all readers, report.html for validators."""
