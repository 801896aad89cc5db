-- What Meta charges, and who a business-scoped user id belongs to. docs/decisions/0014-what-webhooks-say.md

-- As Meta's first `delivered` or `read` with a price had it: 'marketing', 'service/free_customer_service'. Null: not told.
ALTER TABLE message_logs ADD COLUMN pricing text;
ALTER TABLE parked_statuses ADD COLUMN pricing text;

-- Roll-up of that column: each message once, in the hour in which its price became known, by our clock.
CREATE TABLE stats_pricing (
    campaign_id integer NOT NULL,
    hour        timestamptz NOT NULL,
    number_id   integer NOT NULL,
    pricing     text NOT NULL,
    count       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (campaign_id, hour, number_id, pricing)
) WITH (fillfactor = 50);
CREATE INDEX stats_pricing_by_hour ON stats_pricing (hour);

-- Learnt from messages and switches that name both: whoever hides the phone later is still known.
CREATE TABLE user_ids (
    user_id  text PRIMARY KEY,
    phone    text NOT NULL,                                 -- E.164 with the plus
    told_at  timestamptz NOT NULL                           -- by Meta's clock; the latest counts
);
CREATE INDEX user_ids_by_phone ON user_ids (phone);
