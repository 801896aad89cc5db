"""Valid rows by default: a test spells out only what it is about."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from titanflow.storage.claims import Claim, Sender, claim
from titanflow.storage.counters import read
from titanflow.storage.database import Database

BODY_TEMPLATE = [{"type": "BODY", "text": "Hello {{1}}, your code is {{2}}."}]


@dataclass(frozen=True)
class ACampaign:
    """A campaign as a_campaign made it."""

    id: int
    contact_ids: list[int]
    number_id: int
    template_id: int
    phones: list[str] = field(default_factory=list)


def a_number(db: Database, *, phone_number_id: str = "1001", waba_id: str = "9001", max_mps: int = 80) -> int:
    """Insert a phone number whose access token nobody can decrypt."""
    return _id(
        db,
        "INSERT INTO phone_numbers (phone_number_id, waba_id, access_token, max_mps) VALUES (%s, %s, '', %s)"
        " ON CONFLICT (phone_number_id) DO UPDATE SET max_mps = EXCLUDED.max_mps RETURNING id",
        [phone_number_id, waba_id, max_mps],
    )


def a_template(db: Database, *, name: str = "hello", waba_id: str = "9001", status: str = "APPROVED") -> int:
    """Insert a template with two positional parameters."""
    return _id(
        db,
        "INSERT INTO templates (waba_id, name, language, status, components) VALUES (%s, %s, 'en_US', %s, %s)"
        " ON CONFLICT (waba_id, name, language) DO UPDATE SET status = EXCLUDED.status RETURNING id",
        [waba_id, name, status, orjson.dumps(BODY_TEMPLATE).decode()],
    )


def a_campaign(
    db: Database,
    *,
    contacts: int = 3,
    state: str = "running",
    phone_number_id: str = "1001",
    waba_id: str = "9001",
    template: str = "hello",
    variables: dict[str, Any] | None = None,
    first_phone: int = 491510000000,
) -> ACampaign:
    """Insert a campaign with a number, a template and contacts, and its counters, as an import leaves them."""
    number_id = a_number(db, phone_number_id=phone_number_id, waba_id=waba_id)
    template_id = a_template(db, name=template, waba_id=waba_id)
    bound = variables or {"body.1": {"column": "first_name", "default": "you"}, "body.2": {"value": "X1"}}
    campaign_id = _id(
        db,
        "INSERT INTO campaigns (name, state, variables) VALUES ('a campaign', %s, %s) RETURNING id",
        [state, orjson.dumps(bound).decode()],
    )
    phones = [f"+{first_phone + n}" for n in range(contacts)]
    with db.transaction() as transaction:
        transaction.execute(
            "INSERT INTO campaign_numbers (campaign_id, number_id) VALUES (%s, %s)", [campaign_id, number_id]
        )
        transaction.execute(
            "INSERT INTO campaign_templates (campaign_id, position, template_id) VALUES (%s, 1, %s)",
            [campaign_id, template_id],
        )
        transaction.execute("INSERT INTO campaign_cursors (campaign_id) VALUES (%s)", [campaign_id])
        transaction.execute(
            "INSERT INTO campaign_counters (campaign_id, node_id, pending) VALUES (%s, 0, %s)", [campaign_id, contacts]
        )
        rows = transaction.execute(
            'INSERT INTO contacts (campaign_id, phone, variables) SELECT %s, phone, \'{"first_name": "Ana"}\''
            " FROM unnest(%s::text[]) WITH ORDINALITY AS one (phone, n) ORDER BY n RETURNING id",
            [campaign_id, phones],
        ).fetchall()
    return ACampaign(campaign_id, [int(row[0]) for row in rows], number_id, template_id, phones)


def a_sender(db: Database, number_id: int, *, node_id: int = 1, epoch: int = 10, lease_s: float = 60) -> Sender:
    """Give the number's lease to a node. A later call takes it away from the earlier one."""
    with db.connection() as connection:
        connection.execute(
            "INSERT INTO leases (kind, resource_id, node_id, epoch, expires_at)"
            " VALUES ('number', %s, %s, %s, now() + make_interval(secs => %s))"
            " ON CONFLICT (kind, resource_id) DO UPDATE SET node_id = EXCLUDED.node_id, epoch = EXCLUDED.epoch,"
            " expires_at = EXCLUDED.expires_at",
            [number_id, node_id, epoch, lease_s],
        )
    return Sender(node_id=node_id, number_id=number_id, epoch=epoch)


def claimed(db: Database, campaign: ACampaign, sender: Sender, *, again: bool = False) -> list[Claim]:
    """Claim all contacts of a campaign, in contact order."""
    claims = claim(
        db,
        campaign.contact_ids,
        campaign_id=campaign.id,
        template_id=campaign.template_id,
        sender=sender,
        again=again,
    )
    return sorted(claims, key=lambda one: one.contact_id)


def counts(db: Database, campaign_id: int) -> dict[str, int]:
    """The counters that are not zero."""
    return {state: count for state, count in read(db, campaign_id).by_state.items() if count}


def _id(db: Database, statement: Any, parameters: list[Any]) -> int:
    with db.connection() as connection:
        row = connection.execute(statement, parameters).fetchone()
    assert row is not None
    return int(row[0])
