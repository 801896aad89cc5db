-- Rehearsals: a campaign run against the sandbox on a virtual clock. They change nothing but their own row.
-- started_at null: waits for a node. A row that runs belongs to whoever holds the advisory lock (771302, id).
CREATE TABLE rehearsals (
    id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id  integer NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed', 'cancelled')),
    checked      bigint NOT NULL DEFAULT 0,                 -- contacts looked at so far, of total
    total        bigint NOT NULL DEFAULT 0,
    result       jsonb,
    error        text,                                      -- why it failed, in a sentence for people
    requested_by text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    started_at   timestamptz,
    finished_at  timestamptz
);
-- One at a time for a campaign: who asks while one runs gets that one.
CREATE UNIQUE INDEX rehearsals_running ON rehearsals (campaign_id) WHERE state = 'running';
CREATE INDEX rehearsals_by_campaign ON rehearsals (campaign_id, id);
