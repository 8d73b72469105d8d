"""Types of the identifiers that bundles, specs, policies and run files share.

Each type is a string that pydantic checks against one pattern. The patterns have no anchors, so that SQL and Arrow can
use them too.
"""

from typing import Annotated

from pydantic import StringConstraints

SHA256_PATTERN = "[0-9a-f]{64}"
MARKET_PATTERN = "[A-Z]{2}"  # ISO 3166-1 alpha-2
CUSTOMER_ID_PATTERN = "[A-Za-z0-9._:-]{1,64}"
FAMILY_PATTERN = "[a-z][a-z0-9_]{0,31}"
CODE_PATTERN = "[A-Z][A-Z0-9_]{0,62}"
FEATURE_NAME_PATTERN = "[A-Za-z][A-Za-z0-9_]{0,127}"
LOCALE_PATTERN = "[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}"  # BCP 47, without extensions

Sha256 = Annotated[str, StringConstraints(pattern=f"^{SHA256_PATTERN}$")]
Market = Annotated[str, StringConstraints(pattern=f"^{MARKET_PATTERN}$")]
Family = Annotated[str, StringConstraints(pattern=f"^{FAMILY_PATTERN}$")]
Code = Annotated[str, StringConstraints(pattern=f"^{CODE_PATTERN}$")]
FeatureName = Annotated[str, StringConstraints(pattern=f"^{FEATURE_NAME_PATTERN}$")]
LocaleTag = Annotated[str, StringConstraints(pattern=f"^{LOCALE_PATTERN}$")]
