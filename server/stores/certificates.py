"""The end of validity of certificate files."""

import math
from pathlib import Path

from cryptography import x509


def certificate_end(path: Path) -> float:
    """Return when the first certificate of a PEM file that expires does so, in seconds since 1970; NaN if unreadable."""
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return math.nan
    return min(each.not_valid_after_utc.timestamp() for each in certificates)
