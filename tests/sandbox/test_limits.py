"""Limits: the portfolio's tier, the pair limit, the number's second."""

from tests.sandbox.fake_meta import FakeMeta, a_text


def _two_numbers(sandbox: FakeMeta, portfolio: str, limit: int | None, **more: object) -> list[str]:
    """A portfolio with two accounts of one number each. Nobody of it is unreachable by chance: see the people used."""
    wabas = [f"{portfolio}1", f"{portfolio}2"]
    sandbox.control("POST", "portfolios", {"id": portfolio, "tier_limit": limit, "waba_ids": wabas, **more})
    numbers = [f"{waba}7" for waba in wabas]
    for waba, number in zip(wabas, numbers, strict=True):
        sandbox.control("POST", "numbers", {"phone_number_id": number, "waba_id": waba})
    return numbers


def _portfolio(sandbox: FakeMeta, portfolio: str) -> dict[str, int]:
    return dict(sandbox.summary()["portfolios"][portfolio])


def _reachable(sandbox: FakeMeta, count: int, area: str) -> list[str]:
    """People whom a first message reaches: found by sending from a portfolio that has no limit."""
    people: list[str] = []
    n = 0
    while len(people) < count:
        to = f"+49{area}{n:06d}"
        wamid = sandbox.send(to, number="199", echo=f"probe:{area}{n}:1").wamid
        found = sandbox.receiver.wait(lambda wamid=wamid: sandbox.receiver.statuses(wamid))
        if found[0]["status"] != "failed":
            people.append(to)
        n += 1
    return people


def test_a_portfolio_counts_different_people_over_all_its_numbers(sandbox: FakeMeta) -> None:
    one, two = _two_numbers(sandbox, "801", 3)
    people = _reachable(sandbox, 5, "160")
    for number, to in ((one, people[0]), (one, people[1]), (two, people[0]), (two, people[2])):
        sandbox.send(to, number=number)

    over = sandbox.send(people[3], number=one)
    again = sandbox.send(people[1], number=two)

    assert over.status == 200
    assert sandbox.receiver.status_of(over.wamid, "failed")["errors"][0]["code"] == 131048
    assert sandbox.receiver.status_of(again.wamid, "sent")
    assert _portfolio(sandbox, "801") == {
        "tier_limit": 3, "distinct_people": 3, "most_distinct_people": 3, "over_limit": 1,
    }  # fmt: skip


def test_over_the_limit_can_be_refused_at_once_and_a_new_limit_is_told(sandbox: FakeMeta) -> None:
    one, _ = _two_numbers(sandbox, "802", 1, over_limit="at_once")
    first, second = _reachable(sandbox, 2, "161")
    assert sandbox.send(first, number=one).status == 200
    assert sandbox.send(second, number=one).code == 131048
    tier = "whatsapp_business_manager_messaging_limit"
    assert sandbox.get(f"{one}?fields={tier}").body[tier] == "TIER_1"

    sandbox.control("POST", "portfolios", {"id": "802", "tier_limit": 2000, "webhook": True})

    assert sandbox.send(second, number=one).status == 200
    assert sandbox.get(f"{one}?fields={tier}").body[tier] == "TIER_2K"
    told = sandbox.receiver.wait(lambda: sandbox.receiver.changes("business_capability_update"))
    assert told[0]["max_daily_conversations_per_business"] == 2000


def test_the_tier_frees_as_deliveries_turn_a_day_old(sandbox: FakeMeta) -> None:
    one, _ = _two_numbers(sandbox, "803", 1, over_limit="at_once")
    first, second = _reachable(sandbox, 2, "162")
    sandbox.send(first, number=one)
    assert sandbox.send(second, number=one).code == 131048
    sandbox.control("POST", "clock", {"advance_s": 86401})
    assert sandbox.send(second, number=one).status == 200


def test_who_wrote_to_us_is_not_counted(sandbox: FakeMeta) -> None:
    one, _ = _two_numbers(sandbox, "804", 1, over_limit="at_once")
    first, second = _reachable(sandbox, 2, "163")
    sandbox.send(first, number=one)
    sandbox.control("POST", "inbound", {"number": one, "from": second, "text": "Hello"})
    assert sandbox.send(second, number=one).status == 200
    assert _portfolio(sandbox, "804")["distinct_people"] == 1


def test_an_account_tells_its_portfolio(sandbox: FakeMeta) -> None:
    _two_numbers(sandbox, "805", 250)
    account = sandbox.get("8051?fields=id,name,owner_business_info").body
    assert account["owner_business_info"]["id"] == "805"
    unheard_of = sandbox.get("77001?fields=id,owner_business_info").body
    assert unheard_of["owner_business_info"]["id"] == "777001"


def test_forty_five_in_six_seconds_then_the_pair_is_closed(sandbox: FakeMeta) -> None:
    codes = [sandbox.send("+491640000001", number="110", echo=f"p:{n}:1").code for n in range(47)]
    assert codes == [None] * 45 + [131056] * 2

    sandbox.control("POST", "clock", {"advance_s": 45 * 6 - 30})
    assert sandbox.send("+491640000001", number="110").code == 131056
    assert sandbox.send("+491640000001", number="111").code is None  # another pair
    sandbox.control("POST", "clock", {"advance_s": 31})
    assert sandbox.send("+491640000001", number="110").code is None


def test_two_within_six_seconds_are_paid_back(sandbox: FakeMeta) -> None:
    for n in range(2):
        assert sandbox.send("+491640000002", number="110", echo=f"q:{n}:1").code is None
    sandbox.control("POST", "clock", {"advance_s": 7})
    assert sandbox.send("+491640000002", number="110").code == 131056
    sandbox.control("POST", "clock", {"advance_s": 6})
    assert sandbox.send("+491640000002", number="110").code is None


def test_the_strict_pair_limit_is_one_in_six_seconds(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "limits", {"pair": "strict"})
    try:
        codes = [sandbox.send("+491640000003", number="112", echo=f"s:{n}:1").code for n in range(2)]
        sandbox.control("POST", "clock", {"advance_s": 6.1})
        codes.append(sandbox.send("+491640000003", number="112").code)
    finally:
        sandbox.control("POST", "limits", {"pair": "burst"})
    assert codes == [None, 131056, None]


def test_inbound_messages_take_their_part_of_the_second(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "numbers", {"phone_number_id": "113", "mps": 10})
    for n in range(12):
        sandbox.control("POST", "inbound", {"number": "113", "from": f"4916500000{n:02d}", "text": "Hi"})
    assert sandbox.send("+491650000050", number="113").code == 130429
    assert sandbox.summary()["max_rate_1s_by_number"]["113"] == 1


def test_free_text_needs_a_service_window(sandbox: FakeMeta) -> None:
    (to,) = _reachable(sandbox, 1, "166")
    outside = sandbox.post("114/messages", a_text(to))
    assert sandbox.receiver.status_of(outside.wamid, "failed")["errors"][0]["code"] == 131047

    sandbox.control("POST", "inbound", {"number": "114", "from": to, "text": "Hi"})
    inside = sandbox.post("114/messages", a_text(to))
    assert sandbox.receiver.status_of(inside.wamid, "sent")
