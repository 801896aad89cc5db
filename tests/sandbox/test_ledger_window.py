"""The judge's window: it counts what surely came within one second, however late the judge himself was."""

from titanflow.sandbox.ledger import Glances, Window


def test_without_lag_each_event_counts_at_its_stamp() -> None:
    window = Window()

    for n in range(11):
        window.add(n * 0.1, n * 0.1)

    assert (window.worst, window.worst_stamped) == (10, 10)


def test_a_judge_who_was_late_accuses_nobody() -> None:
    """Ten events came over a tenth of a second, and were all read at its end: they may have been there before."""
    window = Window()
    for _ in range(10):
        window.add(1.0, 0.9)
    for n in range(1, 6):
        window.add(1.9 + n / 100, 1.9 + n / 100)

    assert window.worst_stamped == 15
    assert window.worst == 10


def test_what_surely_came_too_fast_is_seen_through_any_lag() -> None:
    window = Window()
    for n in range(30):
        window.add(1.0 + n / 100, 0.95 + n / 100)

    assert window.worst == 30


def test_what_is_read_had_not_come_before_the_last_glance_but_one() -> None:
    glances = Glances()

    for now in (1.0, 1.001, 1.101):
        glances.glance(now)

    assert glances.earliest == 1.001
    assert round(glances.worst_lag_s, 3) == 0.099


def test_requests_that_waited_with_their_new_connections_are_not_held_against_the_sender() -> None:
    """A judge who accepts late reads them later still: they may have been there before others that he read first."""
    window = Window()
    for n in range(10):
        window.add(2.0, 1.95)
        window.add(2.001, 1.5 + n / 1000)

    window.add(2.6, 2.599)

    assert window.held(2.6) == 11
    assert window.worst == 20
