-- no-transaction
-- The outbox: always small. One scan finds which numbers have something to send; a conversation's replies go in order.
CREATE INDEX CONCURRENTLY IF NOT EXISTS inbox_messages_outbox
    ON inbox_messages (number_id, conversation_id, id) WHERE state IN ('queued', 'claimed');
-- A number's tree stays for a while after its last reply.
CREATE INDEX CONCURRENTLY IF NOT EXISTS inbox_messages_outbound ON inbox_messages (at) WHERE direction = 'outbound';
CREATE INDEX CONCURRENTLY IF NOT EXISTS inbox_messages_search
    ON inbox_messages USING gin (to_tsvector('simple', inbox_text(content)));
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_by_number
    ON conversations (number_id, last_message_at DESC, id DESC);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_unread
    ON conversations (last_message_at DESC, id DESC) WHERE unread > 0;
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_assigned
    ON conversations (assigned_to, last_message_at DESC, id DESC) WHERE assigned_to IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_by_label ON conversations USING gin (labels);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_by_name
    ON conversations USING gin (to_tsvector('simple', coalesce(profile_name, '')));
-- A phone is searched for by how it begins, or by its last digits.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_by_phone ON conversations (phone text_pattern_ops);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_by_last_digits
    ON conversations (reverse(phone) text_pattern_ops);
