-- Send windows, the policy for doubts, and what a retry keeps. docs/decisions/0009-send-windows-doubts-retries.md

ALTER TABLE campaigns
    ADD COLUMN send_window jsonb,               -- {"timezone", "days", "from", "to"} or {"timezone", "ranges"}; null: always
    ADD COLUMN window_turns_at timestamptz,     -- running: when its window closes; paused by send_window: when it opens
    ADD COLUMN resend_after_hours integer       -- null: what is in doubt is never sent again by itself
        CHECK (resend_after_hours BETWEEN 1 AND 8760);
CREATE INDEX campaigns_by_window_turn ON campaigns (window_turns_at) WHERE window_turns_at IS NOT NULL;

-- Since when it was in doubt, once a policy or an operator has let it be sent again; null again with the next claim.
ALTER TABLE message_logs ADD COLUMN doubted_at timestamptz;
