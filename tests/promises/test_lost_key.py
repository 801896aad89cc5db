"""Promise 8: a number whose access token nobody can read leaves every other one running, and is told about."""

from pathlib import Path

from tests.support.builders import a_campaign
from tests.support.running import KEY, give_tokens, running_node
from titanflow.domain.vault import Vault
from titanflow.storage import alarms
from titanflow.storage.database import Database
from titanflow.supervision import via, whereis
from titanflow.supervision.testing import eventually


def _tokens(db: Database) -> list[str]:
    return [
        one["target"] for one in alarms.page(db, state="open", before=2**62, limit=9) if one["kind"] == "number_key"
    ]


def _encrypt(db: Database, number: str, *keys: str) -> None:
    with db.connection() as connection:
        values = [Vault(keys).encrypt("token"), number]
        connection.execute("UPDATE phone_numbers SET access_token = %s WHERE phone_number_id = %s", values)


def test_a_number_whose_key_is_lost_costs_nobody_else_and_works_when_it_is_found(
    db: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    lost = a_campaign(db, contacts=5, phone_number_id="1001")
    sound = a_campaign(db, contacts=5, phone_number_id="1002", first_phone=491530000000)
    give_tokens(db)
    _encrypt(db, "1001", "a key that nobody has any more")

    with running_node(database_url, redis_url, tmp_path):
        pool = via("pool", sound.number_id, sound.id)
        eventually(lambda: whereis(pool) is not None, timeout_s=20)
        reconciler, running = whereis(via("reconciler")), whereis(pool)
        eventually(lambda: _tokens(db) == ["1001"], timeout_s=20)
        assert whereis(via("number", lost.number_id)) is None

        _encrypt(db, "1001", KEY)

        eventually(lambda: whereis(via("pool", lost.number_id, lost.id)) is not None, timeout_s=20)
        eventually(lambda: _tokens(db) == [], timeout_s=20)
        assert (whereis(via("reconciler")), whereis(pool)) == (reconciler, running)


def test_a_token_that_is_only_encrypted_anew_interrupts_nothing(
    db: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    campaign = a_campaign(db, contacts=5, phone_number_id="1001")
    other = a_campaign(db, contacts=5, phone_number_id="1002", first_phone=491530000000)
    give_tokens(db)

    with running_node(database_url, redis_url, tmp_path):
        names = [via("pool", one.number_id, one.id) for one in (campaign, other)]
        eventually(lambda: all(whereis(name) is not None for name in names), timeout_s=20)
        before = [whereis(name) for name in names]

        _encrypt(db, "1001", KEY)  # another ciphertext of the same token
        with db.connection() as connection:
            connection.execute(
                "UPDATE phone_numbers SET access_token = %s WHERE phone_number_id = '1002'",
                [Vault([KEY]).encrypt("another token")],
            )
        eventually(lambda: whereis(names[1]) not in (None, before[1]), timeout_s=20)

        assert whereis(names[0]) == before[0]
