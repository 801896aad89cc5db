-- no-transaction
-- Failures of a campaign by contact, all of them and those with a code: pages of the message list, whatever their number.
-- Neither column changes when a message is delivered or read: those updates stay HOT.
CREATE INDEX CONCURRENTLY IF NOT EXISTS message_logs_by_code ON message_logs (campaign_id, error_code, contact_id)
WHERE error_code IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS message_logs_failed ON message_logs (campaign_id, contact_id)
WHERE failed_at IS NOT NULL;
-- message_logs_by_code begins with the same columns.
DROP INDEX CONCURRENTLY IF EXISTS message_logs_errors;
