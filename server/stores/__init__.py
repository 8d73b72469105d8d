"""Everything that the server stores: the record log, scoring runs, features, keys, and bundles and policies for replay."""
