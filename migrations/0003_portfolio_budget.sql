-- A portfolio's messaging limit: unique people in a rolling 24 hours, over all its numbers and campaigns.
-- docs/decisions/0007-portfolio-budget.md says why it looks like this.

-- Null: not known yet; the account stands for it.
ALTER TABLE phone_numbers ADD COLUMN portfolio_id text;

CREATE TABLE portfolios (
    id         text PRIMARY KEY,
    tier       text NOT NULL,                               -- as Meta spells it
    tier_limit integer CHECK (tier_limit > 0),              -- null: unlimited, and nothing is counted
    used       integer NOT NULL DEFAULT 0 CHECK (used >= 0),-- always the number of its rows in portfolio_people
    recount_at timestamptz,                                 -- when its people are to be read from the messages again
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Who counts, and since when. Written only under the lock of the portfolio's row.
CREATE TABLE portfolio_people (
    portfolio_id text NOT NULL,
    phone        text NOT NULL,
    counted_at   timestamptz NOT NULL,
    PRIMARY KEY (portfolio_id, phone)
);
CREATE INDEX portfolio_people_by_time ON portfolio_people (portfolio_id, counted_at);

-- People whose message changed between counting and not counting. Whoever writes down an outcome only appends here,
-- since it holds other locks by then; the PortfolioKeeper looks at each again.
CREATE TABLE portfolio_rechecks (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    portfolio_id text NOT NULL,
    phone        text NOT NULL
);
CREATE INDEX portfolio_rechecks_by_portfolio ON portfolio_rechecks (portfolio_id, id);
