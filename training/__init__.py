"""Trains models: converts a spec, and a table or a transaction log, to a bundle, feature files and run files."""

import os

# By default a waiting thread of LightGBM spins. On a busy machine it then occupies the core of the thread that it waits
# for: a fit of 50 s took more than 9 minutes. The OpenMP runtime reads the variable once, when LightGBM is loaded. A
# value that the user has already set takes precedence.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
