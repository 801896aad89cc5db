-- Answers to POSTs with an Idempotency-Key, for 24 hours; and changes of campaigns' states, for whoever listens.
-- docs/decisions/0020-live-and-safe-http.md

CREATE TABLE idempotency_keys (
    owner       text NOT NULL,                          -- a token, or a session
    key         text NOT NULL,
    request     bytea,              -- SHA-256 of method, path, query and body; null: an upload that hasn't come in whole
    node_id     bigint NOT NULL,                        -- who works on it
    created_at  timestamptz NOT NULL DEFAULT now(),
    status      smallint,                               -- null: not answered yet
    location    text,
    media_type  text,
    body        bytea,                                  -- encrypted: an answer may hold a new token
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at);

-- Each change of a campaign's state, whoever makes it: a trigger, since a part that forgot to tell would go unnoticed.
CREATE TABLE campaign_changes (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    state       text NOT NULL,
    state_by    text NOT NULL,
    state_reason text,
    announced   boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE INDEX campaign_changes_by_campaign ON campaign_changes (campaign_id, at);
CREATE INDEX campaign_changes_by_time ON campaign_changes (at);
CREATE INDEX campaign_changes_unannounced ON campaign_changes (id) WHERE NOT announced;

CREATE FUNCTION note_campaign_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign_changes (campaign_id, state, state_by, state_reason)
    VALUES (NEW.id, NEW.state, NEW.state_by, NEW.state_reason);
    RETURN NULL;
END
$$;
CREATE TRIGGER campaigns_state_changed AFTER UPDATE ON campaigns
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.state_reason IS DISTINCT FROM NEW.state_reason)
    EXECUTE FUNCTION note_campaign_change();
CREATE TRIGGER campaigns_made AFTER INSERT ON campaigns FOR EACH ROW EXECUTE FUNCTION note_campaign_change();
