"""Reports an evaluation as tables in the terminal, as card.md for all readers, and as report.html for validators."""
