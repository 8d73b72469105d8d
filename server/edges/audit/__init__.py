"""AuditService: evidence, proofs, replays, lists and samples, for auditors."""
