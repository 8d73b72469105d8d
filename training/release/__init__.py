"""From samples to a released bundle: baseline, golden rows, release gates."""
