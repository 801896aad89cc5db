-- no-transaction
-- For reply times of all campaigns in a period.
CREATE INDEX CONCURRENTLY IF NOT EXISTS reply_times_by_hour ON reply_times (hour);
