"""The rate table: what a message costs by country and category, as an operator writes it. Pure.

A CSV with the header `country,category,currency,rate` (ISO 3166 alpha-2; MARKETING, UTILITY, AUTHENTICATION). Lines
that begin with # are notes. A country that is not in it has no rate, and is named, never guessed.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

_HEADER = ["country", "category", "currency", "rate"]
_CATEGORIES = ("MARKETING", "UTILITY", "AUTHENTICATION")


class BadRates(Exception):
    """A table that can't be used; the message names the line."""


@dataclass(frozen=True, slots=True)
class RateTable:
    """Rates by (country, category), all in one currency. notes: what the table says of itself."""

    currency: str
    rates: Mapping[tuple[str, str], Decimal]
    notes: str = ""


def parse(text: str) -> RateTable:
    """Read a table. Raises BadRates with the line and what is wrong with it."""
    notes: list[str] = []
    rates: dict[tuple[str, str], Decimal] = {}
    currency = ""
    header_seen = False
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        if not line.strip():
            continue
        if line.startswith("#"):
            notes.append(line.lstrip("# ").strip())
            continue
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if not header_seen:
            if [cell.lower() for cell in cells] != _HEADER:
                raise BadRates(f"line {number}: the header must be {','.join(_HEADER)}")
            header_seen = True
            continue
        key, code, rate = _row(number, cells)
        if currency and code != currency:
            raise BadRates(f"line {number}: the currency is {code}, above it is {currency}; use one")
        if key in rates:
            raise BadRates(f"line {number}: {key[0]} {key[1]} is there twice")
        currency, rates[key] = code, rate
    if not rates:
        raise BadRates("it has no rates")
    return RateTable(currency, rates, " ".join(notes))


def _row(number: int, cells: list[str]) -> tuple[tuple[str, str], str, Decimal]:
    if len(cells) != len(_HEADER):
        raise BadRates(f"line {number}: {len(cells)} columns, {len(_HEADER)} are needed")
    country, category, currency = cells[0].upper(), cells[1].upper(), cells[2].upper()
    if len(country) != 2 or not country.isalpha():
        raise BadRates(f"line {number}: '{cells[0]}' is no country; use two letters, such as DE")
    if category not in _CATEGORIES:
        raise BadRates(f"line {number}: '{cells[1]}' is no category; use one of {', '.join(_CATEGORIES)}")
    if len(currency) != 3 or not currency.isalpha():
        raise BadRates(f"line {number}: '{cells[2]}' is no currency; use three letters, such as USD")
    try:
        rate = Decimal(cells[3])
    except InvalidOperation:
        raise BadRates(f"line {number}: '{cells[3]}' is no number") from None
    if not rate.is_finite() or rate < 0:
        raise BadRates(f"line {number}: a rate can't be {cells[3]}")
    return (country, category), currency, rate
