"""Types of the identifiers that bundles, specs, policies and run files share.

Each is a string that pydantic checks against one pattern.
"""

from typing import Annotated

from pydantic import StringConstraints

MARKET_PATTERN = "[A-Z]{2}"  # ISO 3166-1 alpha-2, unanchored; also read by SQL and Arrow
LOCALE_PATTERN = "[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}"  # BCP 47 without extensions, unanchored; also read by Arrow
CODE_PATTERN = "[A-Z][A-Z0-9_]{0,62}"  # unanchored; also read by SQL

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Market = Annotated[str, StringConstraints(pattern=f"^{MARKET_PATTERN}$")]
Family = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Code = Annotated[str, StringConstraints(pattern=f"^{CODE_PATTERN}$")]
FeatureName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,127}$")]
LocaleTag = Annotated[str, StringConstraints(pattern=f"^{LOCALE_PATTERN}$")]
