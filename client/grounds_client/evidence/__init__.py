"""Evidence packs: the checks on the reader's side, and the HTML page that a person can print."""
