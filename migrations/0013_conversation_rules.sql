-- What is answered by itself: confirmations of STOP and START, and frequent questions. docs/decisions/0017-replies.md

ALTER TABLE inbox_settings
    ADD COLUMN confirm_opt_out      boolean NOT NULL DEFAULT true,
    ADD COLUMN faqs_on              boolean NOT NULL DEFAULT true,
    ADD COLUMN faq_per_hour         integer NOT NULL DEFAULT 5 CHECK (faq_per_hour BETWEEN 1 AND 60),
    ADD COLUMN faq_per_day          integer NOT NULL DEFAULT 20 CHECK (faq_per_day BETWEEN 1 AND 500),
    ADD COLUMN faq_max_age_minutes  integer NOT NULL DEFAULT 10 CHECK (faq_max_age_minutes BETWEEN 1 AND 1440);

-- An operator's own words of opting out and in, in order. No row: the built-in lists hold (domain/stop_words.py).
CREATE TABLE opt_out_languages (
    language    text PRIMARY KEY,
    position    smallint NOT NULL,
    stop_words  text[] NOT NULL,
    start_words text[] NOT NULL,
    stop_reply  text,                           -- null: another language answers
    start_reply text
);

CREATE TABLE faqs (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    position   integer NOT NULL,                -- the first rule that matches answers; ties by id
    name       text NOT NULL DEFAULT '',
    keywords   text[] NOT NULL,
    answer     text NOT NULL,
    is_on      boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE conversations ADD COLUMN auto_replies_on boolean NOT NULL DEFAULT true;

-- What was answered by itself: what bounds are counted by. One inbound message, one automatic reply.
CREATE TABLE auto_replies (
    inbound_id      bigint PRIMARY KEY REFERENCES inbox_messages ON DELETE CASCADE,
    conversation_id bigint NOT NULL,
    sender          text NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('faq', 'stop', 'start')),
    faq_id          integer,                    -- may be deleted since
    at              timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX auto_replies_by_conversation ON auto_replies (conversation_id, at);
CREATE INDEX auto_replies_confirmations ON auto_replies (sender, at) WHERE kind IN ('stop', 'start');
