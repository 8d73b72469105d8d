"""Evidence packs: what can be checked on the reader's side, and the page of HTML that a person can print."""
