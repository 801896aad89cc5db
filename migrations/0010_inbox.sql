-- The inbox: replies as rows, whose conversation it is, media that people send. docs/decisions/0016-inbox.md says why so.

-- As for message_state, the order IS the rank: Meta's statuses only climb. excluded: the claim found the person suppressed.
CREATE TYPE reply_state AS ENUM
    ('queued', 'claimed', 'in_doubt', 'cancelled', 'excluded', 'sent', 'failed', 'delivered', 'read');

-- A reply is an outbound message: it waits in this table for its number's sender. wamid: null until Meta has taken it.
ALTER TABLE inbox_messages
    ALTER COLUMN wamid DROP NOT NULL,
    ADD COLUMN number_id    integer,                        -- outbound: who sends it
    ADD COLUMN state        reply_state,                    -- outbound only
    ADD COLUMN attempt      smallint NOT NULL DEFAULT 0,    -- counted by claims
    ADD COLUMN incarnation  bigint,                         -- of the sender that claimed it
    ADD COLUMN due_at       timestamptz,    -- queued: may go; claimed: in doubt after this; in_doubt: since when
    ADD COLUMN template_id  integer,                        -- null: free-form, only within an open service window
    ADD COLUMN media_id     integer,                        -- of our table media: its id at Meta is put in when it leaves
    ADD COLUMN source       text,                           -- who wrote it: a person's token, or the part that answered
    ADD COLUMN error_code   integer,
    ADD COLUMN error_detail text,
    ADD COLUMN claimed_at   timestamptz,
    ADD COLUMN sent_at      timestamptz,
    ADD COLUMN delivered_at timestamptz,
    ADD COLUMN read_at      timestamptz,
    ADD COLUMN failed_at    timestamptz,
    ADD CONSTRAINT inbox_messages_outbound
        CHECK (direction = 'inbound' OR (state IS NOT NULL AND number_id IS NOT NULL)) NOT VALID;

-- unread: how many inbound messages have an id above read_up_to. Within a conversation ids are in the order of commits,
-- because whoever adds a message has locked the conversation first.
ALTER TABLE conversations
    ADD COLUMN assigned_to text,
    ADD COLUMN labels      text[] NOT NULL DEFAULT '{}',
    ADD COLUMN read_up_to  bigint NOT NULL DEFAULT 0,
    ADD COLUMN archived_at timestamptz,
    ADD COLUMN created_at  timestamptz NOT NULL DEFAULT now();

-- What a person would find by searching; the index is on this function of the object that Meta sent, so that it costs
-- no column, and rows written by older code are found too. Bounded, since a longer text can't be indexed.
CREATE FUNCTION inbox_text(content jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN left(
    coalesce(content->'text'->>'body', '') || ' ' || coalesce(content->'button'->>'text', '') || ' '
    || coalesce(content->'interactive'->'button_reply'->>'title', '') || ' '
    || coalesce(content->'interactive'->'list_reply'->>'title', '') || ' '
    || coalesce(content->'interactive'->'body'->>'text', '') || ' '
    || coalesce(content->'image'->>'caption', '') || ' ' || coalesce(content->'video'->>'caption', '') || ' '
    || coalesce(content->'document'->>'caption', '') || ' ' || coalesce(content->'document'->>'filename', '') || ' '
    || coalesce(content->'location'->>'name', '') || ' ' || coalesce(content->'location'->>'address', '') || ' '
    || coalesce(content->'order'->>'text', '') || ' ' || coalesce(content->'system'->>'body', '') || ' '
    || coalesce(content->>'shown_text', ''), 20000);

-- Media that people send, fetched from Meta off the webhook's path. due_at: to be fetched then; null: done or given up.
CREATE TABLE inbound_media (
    message_id    bigint PRIMARY KEY REFERENCES inbox_messages ON DELETE CASCADE,
    number_id     integer NOT NULL,
    meta_media_id text NOT NULL,
    mime_type     text NOT NULL DEFAULT '',
    filename      text,
    state         text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'stored', 'failed', 'expired')),
    size_bytes    bigint,
    attempts      smallint NOT NULL DEFAULT 0,
    due_at        timestamptz DEFAULT now(),
    error         text,                                     -- why the last attempt failed, in a sentence for people
    stored_at     timestamptz
);
CREATE INDEX inbound_media_due ON inbound_media (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX inbound_media_stored ON inbound_media (stored_at) WHERE state = 'stored';

CREATE TABLE inbound_media_pieces (
    message_id bigint NOT NULL REFERENCES inbound_media ON DELETE CASCADE,
    position   integer NOT NULL,
    bytes      bytea NOT NULL,
    PRIMARY KEY (message_id, position)
);
ALTER TABLE inbound_media_pieces ALTER COLUMN bytes SET STORAGE EXTERNAL;  -- media is compressed already
