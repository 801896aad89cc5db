"""Phone numbers as people write them -> E.164. Pure; libphonenumber decides what is valid."""

import re
from typing import Literal

import phonenumbers

Reason = Literal["missing_phone", "invalid_number", "lossy_number"]

_LOSSY = re.compile(r"^\s*'?\d[.,]\d+[eE]\+?\d+\s*$")


class BadPhone(Exception):
    """A phone that can't be used, and why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def normalise(raw: str, default_country: str | None) -> str:
    """Return a number in E.164 form with the plus. default_country: ISO alpha-2, for numbers without country code.

    Raises BadPhone. `lossy_number`: a spreadsheet has turned it into 4.9151E+11, digits are gone.
    """
    text = raw.strip().lstrip("'").strip()
    if not text:
        raise BadPhone("missing_phone")
    if _LOSSY.match(text):
        raise BadPhone("lossy_number")
    if text.endswith(".0"):
        text = text[:-2]
    if text.startswith("00"):
        text = "+" + text[2:]
    number = _parsed(text, default_country)
    if number is None and text[0].isdigit():
        number = _parsed("+" + text, None)  # digits with country code, the plus lost on the way
    if number is None:
        raise BadPhone("invalid_number")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _parsed(text: str, country: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None
