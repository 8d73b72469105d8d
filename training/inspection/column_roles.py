"""Suggests which columns of an unknown table contain the customer, the label, the time, the market and money."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from training.inspection.column_facts import ColumnFacts, TableFacts
from training.inspection.name_words import TIME_WORDS, has_word, name_words
from training.sources.reader.number_format import CURRENCY_CODES
from training.sources.reader.unreadable import country_code

_CUSTOMER = (
    "customer",
    "kunde",
    "kunden",
    "client",
    "cliente",
    "user",
    "household",
    "account",
    "konto",
    "debitor",
    "applicant",
    "antrag",
    "member",
)
_IDENTIFIER = ("id", "nr", "no", "number", "nummer", "key", "code", "num")
_LABEL = (
    *(
        "label",
        "target",
        "bad",
        "default",
        "defaulted",
        "outcome",
        "churn",
        "churned",
        "delinquent",
        "dlqin",
        "ausfall",
    ),
    *("ausgefallen", "status", "class", "result", "ergebnis", "risk", "risiko", "good", "gut", "paid", "bezahlt", "y"),
)
_BIRTH = ("birth", "geburt", "geburtsdatum", "dob", "born")
_MARKET = ("market", "country", "land", "markt", "pays", "pais", "nation")
_MONEY = (
    *(
        "amount",
        "betrag",
        "umsatz",
        "price",
        "preis",
        "value",
        "sales",
        "revenue",
        "limit",
        "balance",
        "bill",
        "pay",
        "eur",
    ),
    *("usd", "gbp", "chf", "income", "einkommen", "turnover", "saldo", "summe", "total", "rate"),
    *("netto", "brutto", "net", "gross", "wert", "amt", "erlös", "erloes", "entgelt", "kosten", "cost", "gesamt", "vk"),
    *("importo", "importe", "montant", "prix", "precio", "prezzo", "bedrag", "kwota"),
)
_BASKET = ("basket", "invoice", "invoiceno", "beleg", "bon", "order", "receipt", "transaction", "auftrag", "rechnung")
_PRODUCT = ("product", "article", "artikel", "item", "sku", "stockcode", "material")
_CATEGORY = ("category", "gruppe", "group", "warengruppe", "department", "kategorie")
_CURRENCY = ("currency", "ccy", "cur", "waehrung", "währung", "devise", "moneda", "valuta", "waluta")
_UNIT_PRICE = ("price", "preis", "prix", "precio", "prezzo", "prijs", "cena")
_TOTAL = ("total", "gesamt", "sum", "summe", "line", "amount", "betrag")
_QUANTITY = ("quantity", "qty", "menge", "anzahl", "stück", "stueck", "quantité", "quantite", "cantidad", "aantal")
# Pairs of values. The second value of a pair is the bad outcome, unless the column name means a good outcome.
_PAIRS = (
    *(("0", "1"), ("good", "bad"), ("gut", "schlecht"), ("no", "yes"), ("n", "y"), ("nein", "ja"), ("false", "true")),
    *(("-1", "1"), ("1", "2"), ("non", "oui"), ("bezahlt", "ausgefallen"), ("paid", "default"), ("0.0", "1.0")),
)
_FAVOURABLE = ("good", "gut", "paid", "bezahlt", "repaid", "ok")
_REPEATS = 2.0


@dataclass(frozen=True, slots=True)
class ColumnRoles:
    """The probable roles of the columns of an unknown table.

    Attributes:
        customer: Columns that may be the customer, the most likely first.
        label: Columns that may be the outcome, the most likely first.
        bad: Value of the first label that stands for a bad outcome; "" without a label.
        is_bad_certain: True if the values show without doubt which of them is bad.
        time: Columns with days or times, the most likely first.
        market: Columns that may be the market.
        country: Column with names of countries that can be converted to markets, or "".
        money: Columns whose names mean money; if a log has no such column, its numbers with decimals.
        basket: Column of the basket of a transaction log, or "".
        product: Column of the product of a transaction log, or "".
        category: Column of the category of a transaction log, or "".
        currency: Column of the currency of a transaction log, or "".
        quantity: Column of the quantity of a transaction log by which the first money column is to be multiplied, because
            it is a price of one unit; "" if it is not.
        is_log: True if the table looks like a transaction log: customers have several rows, and there is no outcome.
    """

    customer: tuple[str, ...]
    label: tuple[str, ...]
    bad: str
    is_bad_certain: bool
    time: tuple[str, ...]
    market: tuple[str, ...]
    country: str
    money: tuple[str, ...]
    basket: str
    product: str
    category: str
    currency: str
    quantity: str
    is_log: bool

    @property
    def currency_of_name(self) -> str:
        """Return the currency that the name of the first money column states, such as JPY for amount_jpy, or ""."""
        words = [word.upper() for name in self.money[:1] for word in name_words(name)]
        return next((word for word in words if word in CURRENCY_CODES), "")


def suggest_roles(facts: TableFacts, customer: str | None = None, label: str | None = None) -> ColumnRoles:
    """Return the probable roles of the columns.

    Args:
        facts: Facts about the table.
        customer: Column of the customer, if it is known.
        label: Column of the outcome, if it is known.
    """
    labels = (label,) if label else _rank_columns([one for one in facts.columns if _may_be_label(one)], _LABEL)
    times = _rank_columns(
        [one for one in facts.columns if one.kind == "time" and not has_word(one.name, _BIRTH)], TIME_WORDS
    )
    unique = _unique_columns(facts) if customer is None else []
    # A number of the line is unique in a log too, but a customer that is unique means a table of customers.
    is_of_customers = any(has_word(name, _CUSTOMER) for name in unique) or (bool(labels) and bool(unique))
    words = (*_CUSTOMER, *_IDENTIFIER) if labels else _CUSTOMER  # in a table with an outcome, an id is one of customers
    repeated = [] if is_of_customers or customer is not None else _repeated_customers(facts, words)
    known = (customer,) if customer is not None else tuple(repeated or unique)
    stated = facts.find(customer)
    is_repeated = bool(repeated) if stated is None else 0 < stated.distinct < facts.rows
    money = [one.name for one in facts.columns if one.name not in known[:1] and _may_be_money(one)]
    if not (money or labels) and is_repeated:  # perhaps a log in which no name means money
        money = [one.name for one in facts.columns if one.kind == "number" and one.decimals]
    money = sorted(money, key=_is_unit_price)  # an amount of a line before a price of one unit
    is_log = is_repeated and not labels and bool(times and money)
    bad, is_certain = _bad_value(facts.find(labels[0])) if labels else ("", False)
    return ColumnRoles(
        customer=known,
        label=labels,
        bad=bad,
        is_bad_certain=is_certain,
        time=times,
        market=tuple(one.name for one in facts.columns if _may_be_market(one)),
        country=next((one.name for one in facts.columns if _may_be_country(one)), ""),
        money=tuple(money),
        basket=_first_named(facts, _BASKET),
        product=_first_named(facts, _PRODUCT),
        category=_first_named(facts, _CATEGORY),
        currency=next((one.name for one in facts.columns if _may_be_currency(one)), ""),
        quantity=_quantity(facts, money),
        is_log=is_log,
    )


def _is_unit_price(name: str) -> bool:
    """Return whether the name of a column means the price of one unit."""
    return has_word(name, _UNIT_PRICE) and not has_word(name, _TOTAL)


def _quantity(facts: TableFacts, money: Sequence[str]) -> str:
    """Return the column of the quantity if the first money column is the price of one unit; otherwise ""."""
    quantities = [one.name for one in facts.columns if one.kind == "number" and has_word(one.name, _QUANTITY)]
    return next((name for name in quantities if name not in money), "") if money and _is_unit_price(money[0]) else ""


def _may_be_currency(column: ColumnFacts) -> bool:
    """Return whether a column states currencies: its name means one, or its values are codes of usual currencies."""
    if column.kind != "text" or not column.levels:
        return False
    return has_word(column.name, _CURRENCY) or all(value in CURRENCY_CODES for value in column.levels)


def _rank_columns(columns: Iterable[ColumnFacts], words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the columns, ordered by the position in `words` of the first word that the name contains."""

    def rank(name: str) -> int:
        return next((index for index, word in enumerate(words) if has_word(name, (word,))), len(words))

    return tuple(sorted((one.name for one in columns), key=rank))


def _may_be_label(column: ColumnFacts) -> bool:
    """Return whether a column may be the outcome: it has two values and a name or values of an outcome."""
    pair = {value.strip().lower() for value in column.levels}
    if column.distinct != 2:  # noqa: PLR2004 - two outcomes
        return False
    return has_word(column.name, _LABEL) or pair in [{"good", "bad"}, {"gut", "schlecht"}]


def _bad_value(column: ColumnFacts | None) -> tuple[str, bool]:
    """Return the bad value of an outcome, and whether it is certain. For an unknown pair, return the rarer value."""
    if column is None or len(column.levels) < 2:  # noqa: PLR2004 - two outcomes
        return "", False
    names = {value.strip().lower(): value for value in column.levels}
    is_favourable = has_word(column.name, _FAVOURABLE)
    for good, bad in _PAIRS:
        if set(names) == {good, bad}:
            is_named = (good, bad) in {
                ("good", "bad"),
                ("gut", "schlecht"),
                ("bezahlt", "ausgefallen"),
                ("paid", "default"),
            }
            is_certain = is_named or not (is_favourable or set(names) == {"1", "2"})
            return names[good if is_favourable and not is_named else bad], is_certain
    return min(column.levels, key=lambda value: (column.levels[value], value)), False


def _may_be_money(column: ColumnFacts) -> bool:
    """Return whether a column may have amounts of money."""
    return column.kind == "number" and column.distinct > 2 and has_word(column.name, _MONEY)  # noqa: PLR2004 - a flag is no amount


def _may_be_market(column: ColumnFacts) -> bool:
    """Return whether a column may be the market: its name means a country, and its values are country codes."""
    codes = bool(column.levels) and all(re.fullmatch("[A-Z]{2}", value) for value in column.levels)
    return column.kind == "text" and codes and has_word(column.name, _MARKET)


def _may_be_country(column: ColumnFacts) -> bool:
    """Return whether the name of a column means a country, and all its values are names of countries."""
    known = bool(column.levels) and all(country_code(value) != "XX" for value in column.levels)
    return column.kind == "text" and known and has_word(column.name, _MARKET)


def _unique_columns(facts: TableFacts) -> list[str]:
    """Return the columns with a different value in every row, the most likely customer first."""
    unique = [
        one
        for one in facts.columns
        if one.distinct == facts.rows and not one.missing and one.kind != "time" and not one.decimals
    ]
    return list(_rank_columns(unique, (*_CUSTOMER, *_IDENTIFIER)))


def _repeated_customers(facts: TableFacts, words: tuple[str, ...]) -> list[str]:
    """Return the columns that may be the customer of a table in which customers have several rows."""
    found = [
        one
        for one in facts.columns
        if 1 < one.distinct <= facts.rows / _REPEATS
        and not one.decimals
        and one.kind != "time"
        and has_word(one.name, words)
    ]
    return list(_rank_columns(found, words))


def _first_named(facts: TableFacts, words: tuple[str, ...]) -> str:
    """Return the first column with one of the words in its name, or ""."""
    return next((one.name for one in facts.columns if has_word(one.name, words) and one.kind != "time"), "")
