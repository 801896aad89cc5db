-- no-transaction
-- "Why is this person in no list?": a rejected line is found by the last nine digits of what it held, however written.
CREATE INDEX CONCURRENTLY IF NOT EXISTS import_rejects_by_digits
    ON import_rejects (right(regexp_replace(value, '\D', '', 'g'), 9));
