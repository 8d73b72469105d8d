"""ModelService: the catalog of bundles, for every caller."""
