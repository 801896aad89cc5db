-- What follows from Meta's errors, as rows, so that it survives a restart and reaches every node: pauses with their
-- repetitions, lowered rates, soft suppressions, alarms. docs/decisions/0005-consequences.md and 0006-alarms.md say why.

-- The rate after the latest throttle, and how it comes back: slowed_mps until speeds_up_at, then evenly, at such a
-- pace that it would take full_speed_in_s from nothing to max_mps. Written at a throttle only, never while recovering.
ALTER TABLE phone_numbers
    ADD COLUMN slowed_mps      real,
    ADD COLUMN speeds_up_at    timestamptz,
    ADD COLUMN full_speed_in_s real;

-- One row a scope and code that ever made a pause. repeats: incidents in a row, forgotten after a quiet time.
CREATE TABLE pauses (
    scope        text NOT NULL CHECK (scope IN ('number', 'account', 'app')),
    target       text NOT NULL,                 -- Meta's phone_number_id, its waba_id, or '' for the app
    code         integer NOT NULL,
    repeats      integer NOT NULL DEFAULT 1,
    throttled    boolean NOT NULL,              -- the rate adapts, as opposed to: something is wrong
    reason       text NOT NULL,                 -- a sentence for people
    paused_until timestamptz NOT NULL,
    PRIMARY KEY (scope, target, code)
) WITH (fillfactor = 50);

-- Beside an opt-out, Meta's refusals of a person: for a time, longer at each repeat. An opt-out has no end.
ALTER TABLE suppressions
    ADD COLUMN repeats smallint NOT NULL DEFAULT 0,
    DROP CONSTRAINT suppressions_reason_check,
    ADD CONSTRAINT suppressions_reason_check
        CHECK (reason IN ('opted_out', 'blacklisted', 'invalid_number', 'recently_messaged')) NOT VALID;

-- What somebody should know about. One open row a key, however often it happens.
CREATE TABLE alarms (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key           text NOT NULL,
    kind          text NOT NULL,
    scope         text NOT NULL,                -- what the target is: number, account, campaign, code, tree
    target        text NOT NULL,
    sentence      text NOT NULL,
    fix           text NOT NULL,
    count         bigint NOT NULL DEFAULT 1,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    cleared_at    timestamptz,
    cleared_by    text,
    announced     boolean NOT NULL DEFAULT false -- its latest change was published
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX alarms_open ON alarms (key) WHERE cleared_at IS NULL;
CREATE INDEX alarms_unannounced ON alarms (id) WHERE NOT announced;
