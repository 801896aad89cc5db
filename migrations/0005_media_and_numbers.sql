-- Media kept here and uploaded once a number; what Meta says about numbers; what is to be asked at Meta next.

-- The bytes are in PostgreSQL, in pieces: every node can upload them, and a backup has them (docs/decisions/0010).
CREATE TABLE media (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256     text NOT NULL UNIQUE,
    kind       text NOT NULL CHECK (kind IN ('image', 'video', 'document')),
    mime_type  text NOT NULL,
    size_bytes bigint NOT NULL,
    filename   text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE media_pieces (
    media_id integer NOT NULL REFERENCES media ON DELETE CASCADE,
    position integer NOT NULL,
    bytes    bytea NOT NULL,
    PRIMARY KEY (media_id, position)
);
ALTER TABLE media_pieces ALTER COLUMN bytes SET STORAGE EXTERNAL;  -- media is compressed already

-- Meta's id of a file, for one number. uploading_until: somebody is uploading it, so nobody else begins.
CREATE TABLE media_uploads (
    media_id        integer NOT NULL REFERENCES media ON DELETE CASCADE,
    number_id       integer NOT NULL REFERENCES phone_numbers ON DELETE CASCADE,
    meta_media_id   text,
    uploaded_at     timestamptz,
    expires_at      timestamptz,
    uploading_until timestamptz,
    refusals        integer NOT NULL DEFAULT 0,     -- how often Meta refused an id before its time
    failures        integer NOT NULL DEFAULT 0,     -- uploads that failed in a row
    error           text,                           -- why the last one failed, in a sentence for people
    retry_at        timestamptz,
    PRIMARY KEY (media_id, number_id)
);

-- What Meta says of a number. A block of Meta's is a fact of its own beside `state`, which is ours: an operator's pause
-- is still there when Meta's block ends. kind: 'status' follows the polled status; 'account' ends by Meta's word alone.
ALTER TABLE phone_numbers
    ADD COLUMN status           text NOT NULL DEFAULT 'UNKNOWN',
    ADD COLUMN throughput       text NOT NULL DEFAULT 'UNKNOWN',
    ADD COLUMN meta_block       text,                       -- a sentence for people; null: Meta lets it send
    ADD COLUMN meta_block_kind  text CHECK (meta_block_kind IN ('status', 'account')),
    ADD COLUMN meta_block_until timestamptz,                -- from then on a poll may end it; null: not by itself
    ADD COLUMN meta_event_at    timestamptz,                -- of the latest account event applied; older ones are late
    ADD COLUMN shown_state      text GENERATED ALWAYS AS
        (CASE WHEN meta_block IS NULL THEN state ELSE 'blocked' END) STORED,
    ADD COLUMN shown_reason     text GENERATED ALWAYS AS (coalesce(meta_block, state_reason)) STORED;

-- A template that Meta refused although its list says APPROVED: the list is believed again after refused_until.
ALTER TABLE templates
    ADD COLUMN refused_until timestamptz,
    ADD COLUMN refusals      integer NOT NULL DEFAULT 0;

-- What is asked at Meta next, and when. Whoever sees a need writes it here; one node at a time does it.
CREATE TABLE meta_syncs (
    subject       text NOT NULL CHECK (subject IN ('templates', 'number')),
    key           text NOT NULL,                            -- a waba_id, or a phone_number_id
    due_at        timestamptz NOT NULL DEFAULT now(),
    running_until timestamptz,
    synced_at     timestamptz,
    failures      integer NOT NULL DEFAULT 0,
    error         text,
    PRIMARY KEY (subject, key)
);
