"""Tolerances of double arithmetic: the largest differences that count as rounding and not as an error.

Every check of an explanation imports them from here: training, the release gate, loading, serving and replay.
"""

# Log-odds. The same few hundred doubles, added in another order, differ by far less; a wrong leaf or a missing
# contribution differs by far more.
LOG_ODDS_TOLERANCE = 1e-9

# Probabilities. `exp` belongs to the C library, whose releases differ in the last bits.
PD_TOLERANCE = 1e-12
