-- Which message a person answered, and how fast: docs/decisions/0017-replies.md.

-- What an inbound message answers. Null: nothing of ours that is known. intent: it was a word of opting out or in.
ALTER TABLE inbox_messages
    ADD COLUMN message_log_id bigint,
    ADD COLUMN campaign_id    integer,
    ADD COLUMN intent         text CHECK (intent IN ('stop', 'start'));

-- One row a message that was answered, however often: this key is what makes a reply count once. Rows are only added
-- (and moved to an earlier time), beside message_logs and not in it: its updates stay HOT, and nobody waits for a lock.
CREATE TABLE replies (
    log_id      bigint NOT NULL,
    campaign_id integer NOT NULL,
    number_id   integer NOT NULL,
    template_id integer NOT NULL,
    at          timestamptz NOT NULL,           -- of the first answer, by Meta's clock
    seconds     integer NOT NULL,               -- from the claim to that answer
    hour        timestamptz NOT NULL,           -- of stats_hourly and reply_times in which it was counted
    PRIMARY KEY (campaign_id, log_id)
);

-- Roll-up of how fast people answer, in the hour of stats_hourly.replied: those who took at most within_s seconds and
-- longer than the next smaller within_s. The sum of replied is stats_hourly.replied; seconds / replied is the mean.
CREATE TABLE reply_times (
    campaign_id integer NOT NULL,
    hour        timestamptz NOT NULL,
    number_id   integer NOT NULL,
    template_id integer NOT NULL,
    within_s    integer NOT NULL,
    replied     bigint NOT NULL DEFAULT 0,
    seconds     bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (campaign_id, hour, number_id, template_id, within_s)
) WITH (fillfactor = 50);

-- The one row of what is chosen for all conversations. version: moves with each change, so that nodes may keep a copy.
CREATE TABLE inbox_settings (
    id                 boolean PRIMARY KEY DEFAULT true CHECK (id),
    version            bigint NOT NULL DEFAULT 1,
    reply_window_hours integer NOT NULL DEFAULT 72 CHECK (reply_window_hours BETWEEN 1 AND 720)
);
INSERT INTO inbox_settings DEFAULT VALUES;
