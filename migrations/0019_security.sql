-- Tokens that end by themselves, sessions of the web pages, and who did what. docs/decisions/0021-security.md

ALTER TABLE api_tokens ADD COLUMN expires_at timestamptz;   -- null: until it is revoked

-- One row a login. Deleting it signs out, in every process within a second.
CREATE TABLE web_sessions (
    hash         bytea PRIMARY KEY,                         -- SHA-256 of the cookie, 256 random bits
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),        -- written at most once a minute
    address      text NOT NULL                              -- of the login, for people
) WITH (fillfactor = 50);

-- The entry is there before the change it tells of; `outcome` follows. Null: the server died meanwhile, look.
ALTER TABLE audit_log ADD COLUMN outcome text;
CREATE INDEX audit_log_by_time ON audit_log (at);
