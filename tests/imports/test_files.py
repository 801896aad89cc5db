"""Contact lists: what is taken, what is refused and with which line."""

import phonenumbers
import pytest

from titanflow.domain.csv_reading import BadFile, FileCheck, Header, read_header
from titanflow.domain.phones import BadPhone, normalise


def _check(data: bytes, piece: int = 7) -> Header:
    check = FileCheck()
    for start in range(0, len(data), piece):
        check.feed(data[start : start + piece])
    return check.finish()


@pytest.mark.parametrize("name", ["phone", "Phone Number", "MOBILE", "msisdn", "WhatsApp", "\ufeffphone"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_phone_column_is_found(name: str, delimiter: str) -> None:
    header = _check(f"first{delimiter}x\n".replace("first", name).encode() + f"1{delimiter}2\n".encode())
    assert (header.delimiter, header.phone) == (delimiter, 0)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", 1),
        (b"phone\n", 1),
        (b"name,city\nA,B\n", 1),
        (b"phone,x,x\n1,2,3\n", 1),
        (b"phone,\n1,2\n", 1),
        (b"phone,name\n1,a\n2,\xff\xfe\n", 3),
        (b"phone,name\n1,a\n2,b\n3,M\xfcller\n", 4),
        (b"phone\n1\n\x00\x01\n", 3),
        (b"phone\n" + b"1" * 70_000, 2),
        (b"\x7fELF\x00\x00", 1),
        (b"\xef\xbb\xbf", 1),
        (b"phone\r4915510000001\r", 1),
        (b'phone,"na\nme"\n1,2\n', 1),
        ("phone\n1\n".encode("utf-16"), 1),
        (b"PK\x03\x04\x14\x00\x08", 1),
        (b"phone,name\n1,\xe4\xbd\xa0\n2,\xe4\xbd", 3),
    ],
)
def test_a_bad_file_is_refused_with_its_line(data: bytes, line: int) -> None:
    with pytest.raises(BadFile) as caught:
        _check(data)
    assert caught.value.line == line


def test_a_line_without_end_is_refused_early() -> None:
    check = FileCheck()
    check.feed(b"phone\n")
    for _ in range(32):
        check.feed(b"7" * 2048)
    with pytest.raises(BadFile):
        check.feed(b"7")


def test_the_header_keeps_its_names() -> None:
    assert read_header('Phone,"First, name"').columns == ("Phone", "First, name")


@pytest.mark.parametrize(
    ("raw", "country", "wanted"),
    [
        ("+49 151 0000-1234", None, "+4915100001234"),
        ("0049 151 00001234", None, "+4915100001234"),
        ("'+4915100001234", None, "+4915100001234"),
        ("4915100001234", None, "+4915100001234"),
        ("0151 00001234", "DE", "+4915100001234"),
        ("4915100001234.0", None, "+4915100001234"),
        ("(11) 98765-4321", "BR", "+5511987654321"),
    ],
)
def test_phones_are_normalised(raw: str, country: str | None, wanted: str) -> None:
    assert normalise(raw, country) == wanted


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "missing_phone"),
        ("4.91510000000E+11", "lossy_number"),
        ("12345", "invalid_number"),
        ("x", "invalid_number"),
    ],
)
def test_bad_phones_have_a_reason(raw: str, reason: str) -> None:
    with pytest.raises(BadPhone) as caught:
        normalise(raw, None)
    assert caught.value.reason == reason


def test_every_regions_example_number_stays_what_it_is() -> None:
    for region in phonenumbers.SUPPORTED_REGIONS:
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if example is not None:
            written = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
            assert normalise(written, None) == written
