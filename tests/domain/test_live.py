"""What limits a number, and a campaign whose numbers differ."""

from titanflow.domain.live import LimitedBy, LimitLog, NumberLive, of_campaign


def _number(limited_by: LimitedBy, detail: str, rate_now: float = 0.0) -> NumberLive:
    return NumberLive("1", 80.0, rate_now, 0, limited_by, detail)


def test_what_took_most_of_the_time_was_the_limit() -> None:
    log = LimitLog()
    log.add("rate", "80 a second", 12)
    log.add("concurrency", "200 requests in flight", 400)
    log.add("rate", "80 a second", 30)

    assert log.most(begin_anew=True) == ("concurrency", "200 requests in flight")
    assert log.most() == ("concurrency", "200 requests in flight")  # nothing was said since
    log.add("empty", "nobody is waiting to be sent to", 100)
    assert log.most()[0] == "empty"


def test_one_number_speaks_for_its_campaign() -> None:
    assert of_campaign(7, [_number("throttled", "40 of 80 a second", 39.5)]).limited_detail == "40 of 80 a second"


def test_numbers_that_differ_are_told_apart() -> None:
    numbers = [
        _number("tier", "0 of 250 left today"),
        _number("rate", "80 a second", 79.0),
        _number("rate", "80 a second", 78.5),
        _number("rate", "20 a second", 19.5),
    ]

    live = of_campaign(7, numbers)

    assert live.limited_by == "rate"
    assert live.rate_now == 177.0
    assert live.limited_detail == (
        "3 of 4 numbers rate: 80 a second (2 of them) / 20 a second; 1 of 4 numbers tier: 0 of 250 left today"
    )


def test_numbers_that_agree_are_told_once() -> None:
    live = of_campaign(7, [_number("rate", "80 a second"), _number("rate", "80 a second")])

    assert live.limited_detail == "all 2 numbers rate: 80 a second"
