"""The operator's rate table: what is taken, and which line is wrong."""

from decimal import Decimal

import phonenumbers
import pytest

from titanflow.domain.phones import country
from titanflow.domain.rates import BadRates, parse

_HEADER = "country,category,currency,rate\n"


def test_a_table_is_read_with_its_notes() -> None:
    table = parse("\ufeff# from our contract\n\n" + _HEADER + "de, marketing ,EUR,0.11\nbr,UTILITY,EUR,0.006\n")

    assert (table.currency, table.notes) == ("EUR", "from our contract")
    assert table.rates == {("DE", "MARKETING"): Decimal("0.11"), ("BR", "UTILITY"): Decimal("0.006")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rates"),
        (_HEADER, "no rates"),
        ("a,b\n", "line 1: the header"),
        (_HEADER + "DE,MARKETING,EUR\n", "line 2: 3 columns"),
        (_HEADER + "Germany,MARKETING,EUR,1\n", "line 2: 'Germany'"),
        (_HEADER + "DE,ADS,EUR,1\n", "line 2: 'ADS'"),
        (_HEADER + "DE,MARKETING,EURO,1\n", "line 2: 'EURO'"),
        (_HEADER + "DE,MARKETING,EUR,1\n#\nBR,MARKETING,USD,1\n", "line 4: the currency is USD"),
        (_HEADER + 'DE,MARKETING,EUR,"0,1"\n', "line 2: '0,1' is no number"),
        (_HEADER + "DE,MARKETING,EUR,-1\n", "line 2: a rate can't be -1"),
        (_HEADER + "DE,MARKETING,EUR,NaN\n", "line 2: a rate can't be NaN"),
        (_HEADER + "DE,MARKETING,EUR,1\nDE,MARKETING,EUR,1\n", "line 3: DE MARKETING is there twice"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(BadRates, match=said):
        parse(text)


def test_the_country_of_a_number_is_that_of_libphonenumber() -> None:
    for region in phonenumbers.SUPPORTED_REGIONS:
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if example is not None:
            written = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
            assert country(written) == phonenumbers.region_code_for_number(example)


@pytest.mark.parametrize(("phone", "where"), [("+999123", None), ("+870773111632", None), ("+", None)])
def test_what_has_no_country_has_none(phone: str, where: str | None) -> None:
    assert country(phone) == where
