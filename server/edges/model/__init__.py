"""ModelService: lists and describes the bundles of the catalog, for every caller."""
