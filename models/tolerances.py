"""Tolerances of double arithmetic: the largest differences that count as rounding and not as an error.

Training, the release gate, loading, serving and replay all use these tolerances to check an explanation.
"""

# For log-odds. The sum of the same few hundred doubles in a different order differs by far less; a wrong leaf or a missing
# contribution changes it by far more.
LOG_ODDS_TOLERANCE = 1e-9

# For probabilities. `exp` comes from the C library, whose releases differ in the last bits.
PD_TOLERANCE = 1e-12
