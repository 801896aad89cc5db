-- The first schema. docs/architecture.md says how a message moves through it.
--
-- Two decisions to know before reading (docs/decisions/0002-schema.md):
-- * The order of message_state IS the rank of Meta's statuses: "status only climbs" is GREATEST(old, new).
-- * message_logs.state is in no index, not even in a predicate: the updates sent -> delivered -> read stay HOT.
--   What somebody must still look at (claimed, retrying, in_doubt) is found by due_at, which is null otherwise.

-- Incarnations of senders and nodes: never reused, so a late message of a dead one is always recognised.
CREATE SEQUENCE incarnations AS bigint;

CREATE TYPE message_state AS ENUM
    ('claimed', 'retrying', 'in_doubt', 'cancelled', 'excluded', 'sent', 'failed', 'delivered', 'read');

CREATE TABLE phone_numbers (
    id                   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    phone_number_id      text NOT NULL UNIQUE,              -- Meta's id, the one in URLs
    waba_id              text NOT NULL,
    display_phone_number text NOT NULL DEFAULT '',
    name                 text NOT NULL DEFAULT '',
    access_token         bytea NOT NULL,                    -- encrypted with SECRET_KEY
    max_mps              integer NOT NULL DEFAULT 80 CHECK (max_mps BETWEEN 10 AND 1000),
    quality              text NOT NULL DEFAULT 'UNKNOWN',
    tier                 text NOT NULL DEFAULT 'TIER_NOT_SET',
    state                text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'exhausted', 'blocked')),
    state_reason         text,                              -- a sentence for people
    paused_until         timestamptz,                       -- null while paused: until an operator resumes it
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE templates (
    id               integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    waba_id          text NOT NULL,
    meta_template_id text,
    name             text NOT NULL,
    language         text NOT NULL,
    status           text NOT NULL DEFAULT 'PENDING',
    category         text NOT NULL DEFAULT 'MARKETING',
    quality          text NOT NULL DEFAULT 'UNKNOWN',
    parameter_format text NOT NULL DEFAULT 'POSITIONAL' CHECK (parameter_format IN ('POSITIONAL', 'NAMED')),
    components       jsonb NOT NULL DEFAULT '[]',
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (waba_id, name, language)
);

CREATE TABLE campaigns (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL,
    state           text NOT NULL DEFAULT 'draft' CHECK (state IN
        ('draft', 'importing', 'ready', 'scheduled', 'running', 'paused', 'completed', 'cancelled', 'failed')),
    state_by        text NOT NULL DEFAULT 'operator',       -- who brought it there: operator, or the part that did
    state_reason    text,                                   -- why, in a sentence for people
    variables       jsonb NOT NULL DEFAULT '{}',            -- template parameter -> {"column", "default"} or {"value"}
    media           jsonb NOT NULL DEFAULT '{}',
    default_country text,                                   -- ISO 3166 alpha-2, for phones without a country code
    schedule_at     timestamptz,
    max_mps         integer CHECK (max_mps > 0),
    dedupe_days     integer NOT NULL DEFAULT 0 CHECK (dedupe_days >= 0),
    audience_cap    integer CHECK (audience_cap > 0),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,                            -- the first start; a resume leaves it alone
    completed_at    timestamptz
);
CREATE INDEX campaigns_by_state ON campaigns (state) WHERE state IN ('running', 'scheduled', 'importing');

CREATE TABLE campaign_templates (                           -- first, then the fallbacks, in order
    campaign_id integer NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    position    smallint NOT NULL,
    template_id integer NOT NULL REFERENCES templates,
    PRIMARY KEY (campaign_id, position),
    UNIQUE (campaign_id, template_id)
);
CREATE INDEX campaign_templates_by_template ON campaign_templates (template_id);

CREATE TABLE campaign_numbers (
    campaign_id integer NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    number_id   integer NOT NULL REFERENCES phone_numbers,
    PRIMARY KEY (campaign_id, number_id)
);
CREATE INDEX campaign_numbers_by_number ON campaign_numbers (number_id);

-- How far the BufferManagers have read. Apart from campaigns, so that a refill never waits for a claim.
CREATE TABLE campaign_cursors (
    campaign_id integer PRIMARY KEY REFERENCES campaigns ON DELETE CASCADE,
    contact_id  bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- One row a person and campaign. No foreign key: a check a row would cost the import more than the copy itself;
-- campaigns are deleted through one function that takes their contacts along.
CREATE TABLE contacts (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id     integer NOT NULL,
    phone           text NOT NULL,                          -- E.164 with the plus
    variables       jsonb NOT NULL DEFAULT '{}',
    excluded_reason text
);
-- One person once a campaign; led by phone, so that it also answers "what happened to this person".
CREATE UNIQUE INDEX contacts_by_phone ON contacts (phone, campaign_id);
-- The seed's "unsent contacts": BufferManager's keyset runs on it.
CREATE INDEX contacts_to_send ON contacts (campaign_id, id) WHERE excluded_reason IS NULL;
CREATE INDEX contacts_excluded ON contacts (campaign_id, id) WHERE excluded_reason IS NOT NULL;

CREATE TABLE message_logs (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contact_id    bigint NOT NULL,
    incarnation   bigint NOT NULL,                          -- of the sender that claimed it
    campaign_id   integer NOT NULL,
    number_id     integer NOT NULL,
    template_id   integer NOT NULL,
    state         message_state NOT NULL,
    attempt       smallint NOT NULL DEFAULT 1,
    error_code    integer,
    error_detail  text,
    wamid         text,
    claimed_at    timestamptz NOT NULL DEFAULT now(),
    due_at        timestamptz,      -- claimed: in doubt after this; retrying: may go again; in_doubt: since when
    sent_at       timestamptz,
    delivered_at  timestamptz,
    read_at       timestamptz,
    failed_at     timestamptz
) WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);
-- The fence: nobody is claimed twice in a campaign.
CREATE UNIQUE INDEX message_logs_fence ON message_logs (campaign_id, contact_id);
CREATE INDEX message_logs_by_wamid ON message_logs USING hash (wamid);
CREATE INDEX message_logs_due ON message_logs (campaign_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX message_logs_errors ON message_logs (campaign_id, error_code) WHERE error_code IS NOT NULL;

-- Earlier attempts of a message that was tried again.
CREATE TABLE message_attempts (
    log_id       bigint NOT NULL,
    attempt      smallint NOT NULL,
    number_id    integer NOT NULL,
    template_id  integer NOT NULL,
    state        message_state NOT NULL,
    error_code   integer,
    error_detail text,
    wamid        text,
    claimed_at   timestamptz NOT NULL,
    ended_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (log_id, attempt)
);

-- Exact counts, changed in the transaction that changes the rows. One row a campaign and node (0: services),
-- so that nodes don't wait for each other; a single row may be negative, their sum never is.
CREATE TABLE campaign_counters (
    campaign_id integer NOT NULL,
    node_id     bigint NOT NULL,
    pending     bigint NOT NULL DEFAULT 0,
    claimed     bigint NOT NULL DEFAULT 0,
    retrying    bigint NOT NULL DEFAULT 0,
    in_doubt    bigint NOT NULL DEFAULT 0,
    cancelled   bigint NOT NULL DEFAULT 0,
    excluded    bigint NOT NULL DEFAULT 0,
    sent        bigint NOT NULL DEFAULT 0,
    failed      bigint NOT NULL DEFAULT 0,
    delivered   bigint NOT NULL DEFAULT 0,
    read        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (campaign_id, node_id)
) WITH (fillfactor = 50);

-- The same for the reasons behind excluded (reason) and failed (error code).
CREATE TABLE campaign_reasons (
    campaign_id integer NOT NULL,
    node_id     bigint NOT NULL,
    state       message_state NOT NULL CHECK (state IN ('excluded', 'failed')),
    reason      text NOT NULL,
    count       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (campaign_id, node_id, state, reason)
) WITH (fillfactor = 50);

-- Roll-up of what happened in which hour, by our clock. Cumulative: a read message counts as sent and delivered too.
CREATE TABLE stats_hourly (
    campaign_id integer NOT NULL,
    hour        timestamptz NOT NULL,
    number_id   integer NOT NULL,
    template_id integer NOT NULL,
    sent        bigint NOT NULL DEFAULT 0,
    delivered   bigint NOT NULL DEFAULT 0,
    read        bigint NOT NULL DEFAULT 0,
    failed      bigint NOT NULL DEFAULT 0,
    replied     bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (campaign_id, hour, number_id, template_id)
) WITH (fillfactor = 50);
CREATE INDEX stats_hourly_by_hour ON stats_hourly (hour);

CREATE TABLE suppressions (
    phone      text PRIMARY KEY,
    reason     text NOT NULL DEFAULT 'opted_out' CHECK (reason IN ('opted_out', 'blacklisted')),
    source     text NOT NULL,                               -- manual, api, 131050, user_preferences, ...
    note       text,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);

CREATE TABLE imports (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id   integer NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    state         text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed', 'cancelled')),
    file          text NOT NULL,                            -- name below DATA_DIR/uploads
    default_country text,
    rows          bigint NOT NULL DEFAULT 0,
    accepted      bigint NOT NULL DEFAULT 0,
    duplicates    bigint NOT NULL DEFAULT 0,
    rejected      bigint NOT NULL DEFAULT 0,
    by_reason     jsonb NOT NULL DEFAULT '{}',
    first_errors  jsonb NOT NULL DEFAULT '[]',
    error         text,
    node_id       bigint,                                   -- who works on it
    created_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz
);
CREATE INDEX imports_by_campaign ON imports (campaign_id);
CREATE INDEX imports_running ON imports (id) WHERE state = 'running';

CREATE TABLE import_rejects (
    import_id integer NOT NULL REFERENCES imports ON DELETE CASCADE,
    line      bigint NOT NULL,
    reason    text NOT NULL,
    value     text NOT NULL,
    PRIMARY KEY (import_id, line)
);

-- One row a start of a server process; its id is an incarnation.
CREATE TABLE nodes (
    id           bigint PRIMARY KEY,
    host         text NOT NULL,
    pid          integer NOT NULL,
    process      text NOT NULL,     -- boot, pid namespace, pid and start time: proves on the same host that it is dead
    version      text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    stopped_at   timestamptz
);

-- Who serves a number or is a campaign's home. epoch is an incarnation, taken anew by each sender that starts.
CREATE TABLE leases (
    kind        text NOT NULL CHECK (kind IN ('number', 'campaign')),
    resource_id integer NOT NULL,
    node_id     bigint NOT NULL,
    epoch       bigint NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (kind, resource_id)
) WITH (fillfactor = 50);

CREATE TABLE webhook_quarantine (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now(),
    field       text,
    reason      text NOT NULL,
    body        jsonb NOT NULL
);

-- Statuses for a message that isn't known yet; applied when it is, dropped by the Janitor after a week.
CREATE TABLE parked_statuses (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    wamid       text NOT NULL,
    status      message_state NOT NULL,
    at          timestamptz NOT NULL,
    error_code  integer,
    error_detail text,
    parked_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX parked_statuses_by_wamid ON parked_statuses (wamid);

CREATE TABLE conversations (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number_id       integer NOT NULL REFERENCES phone_numbers,
    phone           text NOT NULL,                          -- E.164 with the plus, or a BSUID
    profile_name    text,
    last_message_at timestamptz NOT NULL,
    last_inbound_at timestamptz,
    unread          integer NOT NULL DEFAULT 0,
    UNIQUE (phone, number_id)
);
CREATE INDEX conversations_by_time ON conversations (last_message_at DESC, id DESC);

CREATE TABLE inbox_messages (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id bigint NOT NULL REFERENCES conversations ON DELETE CASCADE,
    direction       text NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    wamid           text NOT NULL UNIQUE,
    type            text NOT NULL,
    content         jsonb NOT NULL,                         -- Meta's object as it came
    at              timestamptz NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX inbox_messages_by_conversation ON inbox_messages (conversation_id, id);

CREATE TABLE api_tokens (
    id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL,
    hash         bytea NOT NULL UNIQUE,                     -- SHA-256 of a 256-bit random token
    scopes       text[] NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at   timestamptz
);

CREATE TABLE audit_log (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now(),
    who    text NOT NULL,
    what   text NOT NULL,
    target text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
