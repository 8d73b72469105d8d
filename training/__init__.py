"""Trains models: a spec and a table, or a transaction log, become a bundle, feature files and run files."""

import os

# By default a waiting thread of LightGBM spins. On a busy machine it then occupies the core of the thread that it waits
# for: a fit of 50 s took more than 9 minutes. The OpenMP runtime reads this once, when LightGBM is loaded; a value that
# is already set takes precedence.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
