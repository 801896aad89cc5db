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


def country(phone: str) -> str | None:
    """Return the country (ISO alpha-2) of a number in E.164 form, None if libphonenumber knows none for its code.

    A calling code of one country alone decides at once; for shared ones, such as +1, the whole number is looked at.
    """
    digits = phone.lstrip("+")
    for length in (1, 2, 3):
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(digits[:length] or 0))
        if regions is None:
            continue
        if len(regions) == 1:
            return regions[0] if regions[0] != "001" else None  # 001: no country, such as satellite phones
        number = phonenumbers.PhoneNumber(country_code=int(digits[:length]), national_number=int(digits[length:] or 0))
        if digits[length : length + 1] == "0":
            number.italian_leading_zero = True
        found: str | None = phonenumbers.region_code_for_number(number)
        return found or regions[0]
    return None


def _parsed(text: str, country: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None


# WhatsApp's identity of a number may differ from the number: Brazil's ninth digit, Mexico's 1, Argentina's 9.
_BRAZIL = re.compile(r"\+55(\d\d)9?([6-9]\d{7})")
_MEXICO = re.compile(r"\+521?(\d{10})")
_ARGENTINA = re.compile(r"\+549?(\d{10})")


def same_person(phone: str) -> tuple[str, ...]:
    """Return all forms of a phone that WhatsApp takes for one person; just the phone for most countries.

    Inbound messages come in WhatsApp's own form, contacts in the list's: what a person says counts for both.
    """
    if match := _BRAZIL.fullmatch(phone):
        return (f"+55{match[1]}9{match[2]}", f"+55{match[1]}{match[2]}")
    if match := _MEXICO.fullmatch(phone):
        return (f"+521{match[1]}", f"+52{match[1]}")
    if match := _ARGENTINA.fullmatch(phone):
        return (f"+54{match[1]}", f"+549{match[1]}")
    return (phone,)


_SEPARATORS = re.compile(r"[\s().\-/\u2010-\u2015\u00a0]+")
_E164 = re.compile(r"\+[1-9]\d{4,16}")
_USER_ID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}")


def of_path(raw: str) -> str:
    """Return the person that somebody names in a URL or a list: E.164 with the plus, or Meta's user id as it is.

    The plus may be missing or lost as a space; 00, spaces and dashes are fine. Whether the number is in service is not
    asked: a person must be found, or kept out, whatever libphonenumber knows. Raises BadPhone.
    """
    text = raw.strip()
    if _USER_ID.fullmatch(text):
        return text
    digits = _SEPARATORS.sub("", text)
    digits = "+" + digits.removeprefix("+").removeprefix("00")
    if len(digits) == 1:
        raise BadPhone("missing_phone")
    if not _E164.fullmatch(digits):
        raise BadPhone("invalid_number")
    return digits
