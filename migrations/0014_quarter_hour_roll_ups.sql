-- Roll-ups by the quarter of an hour in which something happened, by the row's own time: so they can be recounted from
-- message_logs hour by hour, and days of every time zone can be added up from them (docs/decisions/0018-roll-ups.md).
COMMENT ON TABLE stats_hourly IS
    'message_logs grouped by number, template and the quarter of an hour of sent_at, delivered_at, read_at, failed_at';
COMMENT ON COLUMN stats_hourly.hour IS 'begin of a quarter of an hour';

-- What failed with which code, by the quarter of an hour of failed_at. code: 'unknown' for those without one.
CREATE TABLE stats_failures (
    campaign_id integer NOT NULL,
    hour        timestamptz NOT NULL,
    code        text NOT NULL,
    count       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (campaign_id, hour, code)
) WITH (fillfactor = 50);
CREATE INDEX stats_failures_by_hour ON stats_failures (hour);

INSERT INTO stats_failures (campaign_id, hour, code, count)
SELECT campaign_id, date_bin('15 minutes', failed_at, 'epoch'), coalesce(error_code::text, 'unknown'), count(*)
FROM message_logs WHERE state = 'failed' GROUP BY 1, 2, 3;

-- What was rolled up by the clock's hour until now, by the rows' own times.
CREATE TEMPORARY TABLE recounted ON COMMIT DROP AS
SELECT message.campaign_id, date_bin('15 minutes', one.at, 'epoch') AS hour, message.number_id, message.template_id,
       sum(one.sent) AS sent, sum(one.delivered) AS delivered, sum(one.read) AS read, sum(one.failed) AS failed
FROM message_logs AS message, LATERAL (VALUES
    (message.sent_at, 1, 0, 0, 0),
    (CASE WHEN message.state IN ('delivered', 'read') THEN message.delivered_at END, 0, 1, 0, 0),
    (CASE WHEN message.state = 'read' THEN message.read_at END, 0, 0, 1, 0),
    (CASE WHEN message.state = 'failed' THEN message.failed_at END, 0, 0, 0, 1)) AS one (at, sent, delivered, read, failed)
WHERE one.at IS NOT NULL
GROUP BY 1, 2, 3, 4;

-- A campaign whose rows are gone keeps its history as it was, and replies were rolled up by their own time always.
UPDATE stats_hourly SET sent = 0, delivered = 0, read = 0, failed = 0
WHERE campaign_id IN (SELECT campaign_id FROM recounted);

INSERT INTO stats_hourly AS roll_up (campaign_id, hour, number_id, template_id, sent, delivered, read, failed)
SELECT campaign_id, hour, number_id, template_id, sent, delivered, read, failed FROM recounted
ON CONFLICT (campaign_id, hour, number_id, template_id) DO UPDATE
SET sent = EXCLUDED.sent, delivered = EXCLUDED.delivered, read = EXCLUDED.read, failed = EXCLUDED.failed;

DELETE FROM stats_hourly WHERE sent = 0 AND delivered = 0 AND read = 0 AND failed = 0 AND replied = 0;
