"""Arrays written by hand hold what psycopg's own would."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from titanflow.storage import arrays
from titanflow.storage.database import Database

_TEXT = st.none() | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
_TIMES = st.datetimes(datetime(1, 1, 1, 12), datetime(9999, 12, 30), timezones=st.just(UTC))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
    texts=st.lists(_TEXT | st.sampled_from(["NULL", "", "{}", '"', "\\", ",", " a ", "\n", '\\"'])),
    times=st.lists(_TIMES),
)
def test_arrays_come_back_as_they_were(
    db: Database, numbers: list[int | None], texts: list[str | None], times: list[datetime]
) -> None:
    with db.connection() as connection:
        row = connection.execute(
            "SELECT %s::bigint[], %s::text[], %s::timestamptz[]",
            [arrays.numbers(numbers), arrays.texts(texts), arrays.times(times)],
        ).fetchone()

    assert row == (numbers, texts, times)


def test_times_of_other_zones_are_the_same_moments(db: Database) -> None:
    at = datetime(2026, 11, 25, 12, 0, 0, 5, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    with db.connection() as connection:
        row = connection.execute("SELECT %s::timestamptz[]", [arrays.times([at])]).fetchone()

    assert row == ([at],)
