-- People who were erased, known only by a keyed hash of their phone: they are never sent to again.
-- docs/decisions/0022-retention-and-erasure.md
CREATE TABLE erased_people (
    hash      bytea PRIMARY KEY,                            -- HMAC-SHA256 of the E.164 phone, or of Meta's user id
    erased_at timestamptz NOT NULL DEFAULT now()
);

-- One row, made with the first erasure: 256 random bits, encrypted with SECRET_KEY, so that a copy of the database alone
-- can't be searched for phones.
CREATE TABLE erasure_key (
    id     boolean PRIMARY KEY DEFAULT true CHECK (id),
    sealed bytea NOT NULL
);
