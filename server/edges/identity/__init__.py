"""Who calls: certificates and tokens identify the caller, and the authority file states what the caller may do."""
