-- How long things are kept, and campaigns that are closed for good. docs/decisions/0022-retention-and-erasure.md

-- One row. A campaign's contacts and messages go log_days after its end, a conversation conversation_days after its
-- latest message (null: never), the bytes of files that people sent after media_days.
CREATE TABLE retention_settings (
    id                boolean PRIMARY KEY DEFAULT true CHECK (id),
    log_days          integer NOT NULL DEFAULT 30 CHECK (log_days BETWEEN 7 AND 3650),
    conversation_days integer DEFAULT 365 CHECK (conversation_days BETWEEN 30 AND 3650),
    media_days        integer NOT NULL DEFAULT 90 CHECK (media_days BETWEEN 1 AND 3650)
);
INSERT INTO retention_settings DEFAULT VALUES;

-- closed_at: from then on its contacts and messages are being deleted, its counters and roll-ups are all that is left.
-- No statement, of whatever version, can bring a closed campaign back: that is what the constraint is for.
ALTER TABLE campaigns
    ADD COLUMN closed_at timestamptz,
    ADD COLUMN purged_to bigint NOT NULL DEFAULT 0,     -- the contact up to which all are deleted
    ADD COLUMN purged_at timestamptz,                   -- all are deleted
    ADD CONSTRAINT campaigns_closed_for_good
        CHECK (closed_at IS NULL OR state IN ('completed', 'cancelled', 'failed')) NOT VALID;
CREATE INDEX campaigns_to_purge ON campaigns (id) WHERE closed_at IS NOT NULL AND purged_at IS NULL;
