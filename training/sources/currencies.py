"""The currency of each market of a transaction log, and the number of decimals of an amount in this currency."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from training.errors import SpecInvalid
from training.sources.reader.casts import ColumnCast
from training.sources.reader.raw_table import quote_literal
from training.spec import LogSpec, Spec

_DEFAULT_DECIMALS = 2
# Currencies whose amounts do not have two decimals (ISO 4217).
_DECIMALS = dict.fromkeys(
    (
        *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF"),
        *("XOF", "XPF"),
    ),
    0,
) | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
# Features whose values are amounts of money. Amounts in different currencies cannot be compared.
_MONEY_FEATURES = {
    *("spend_30", "spend_90", "spend_365", "spend_total", "spend_per_basket_90"),
    *("net_spend_30", "net_spend_90", "net_spend_180", "net_spend_365", "net_spend_total"),
}


def currency_decimals(currency: str) -> int:
    """Return the number of decimals of an amount in a currency (ISO 4217)."""
    return _DECIMALS.get(currency, _DEFAULT_DECIMALS)


@dataclass(frozen=True, slots=True)
class LogCurrencies:
    """The currencies of a transaction log.

    Attributes:
        single: The currency of every market; "" if each market has its own.
        by_market: The currency of each market; empty if all markets have the same.
        stated_decimals: Number of decimals that the spec states; None for the number that each currency has.
    """

    single: str
    by_market: Mapping[str, str]
    stated_decimals: int | None

    @property
    def decimals(self) -> int:
        """Return the largest number of decimals of an amount."""
        return max(map(self._decimals_of, self.by_market.values() or [self.single]))

    def _decimals_of(self, currency: str) -> int:
        """Return the number of decimals of an amount in a currency."""
        return currency_decimals(currency) if self.stated_decimals is None else self.stated_decimals

    def sql(self, market: str) -> str:
        """Return the SQL expression of the currency of a row; NULL if the spec states no currency for the market.

        Args:
            market: SQL expression of the market of the row.
        """
        if self.single:
            return quote_literal(self.single)
        cases = " ".join(f"WHEN '{name}' THEN '{currency}'" for name, currency in sorted(self.by_market.items()))
        return f"(CASE {market} {cases} END)"

    def limit_decimals(self, cast: ColumnCast, market: str) -> ColumnCast:
        """Return the cast of an amount, in which an amount with more decimals than its own currency is unreadable."""
        fewer = {
            name: decimals
            for name, currency in sorted(self.by_market.items())
            if (decimals := self._decimals_of(currency)) < self.decimals
        }
        if not fewer:
            return cast
        rounded = " ".join(f"WHEN '{name}' THEN round({cast.value}, {count})" for name, count in fewer.items())
        fits = f"(CASE {market} {rounded} ELSE {cast.value} END) = {cast.value}"
        problem = f"CASE WHEN NOT {fits} THEN 'TOO_MANY_DECIMALS' END"
        return replace(
            cast, value=f"CASE WHEN {fits} THEN {cast.value} END", problem=f"COALESCE({cast.problem}, {problem})"
        )

    def check_markets(self, markets: Iterable[str], name: str) -> None:
        """Raise SpecInvalid if a market of the log has no currency.

        Args:
            markets: The markets of the log.
            name: Name of the log, for the message.
        """
        missing = sorted(set(markets) - set(self.by_market)) if self.by_market else []
        if missing:
            raise SpecInvalid(
                f"log.currency: states no currency for the markets {', '.join(missing)} of {name}; add them, such as "
                f'{missing[0]} = "EUR"'
            )


def read_currencies(log: LogSpec) -> LogCurrencies:
    """Return the currencies that a spec states."""
    if isinstance(log.currency, str):
        return LogCurrencies(log.currency, {}, log.decimals)
    return LogCurrencies("", log.currency, log.decimals)


def run_currencies(spec: Spec) -> dict[str, object]:
    """Return the keys of a run manifest that state the currencies; XXX is the ISO code for no currency."""
    log = spec.log
    if log is None:
        return {"currency": spec.run.currency}
    return (
        {"currency": log.currency} if isinstance(log.currency, str) else {"currency": "XXX", "currencies": log.currency}
    )


def check_money_features(spec: Spec) -> None:
    """Raise SpecInvalid if a model would compare amounts of different currencies."""
    if spec.log is None or isinstance(spec.log.currency, str):
        return
    used = {feature.name for feature in spec.features} | {name for rival in spec.rivals for name in rival.features}
    if money := sorted(used & _MONEY_FEATURES):
        raise SpecInvalid(
            f"features: {', '.join(money)}: the values are amounts in the currency of the market, so a model of markets with "
            "different currencies would compare unlike amounts; use a ratio such as spend_trend_30, or one spec for each "
            "currency"
        )
