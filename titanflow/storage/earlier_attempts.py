"""What stays true of a message whose next attempt is called off: constants of SQL."""

# An earlier attempt that nobody knows the end of: a new one that is refused doesn't make it unsent.
DOUBTED_BEFORE = """
    EXISTS (SELECT FROM message_attempts AS earlier WHERE earlier.log_id = message.id AND earlier.state = 'in_doubt')"""

# Of a `retrying` row of message_logs AS message, if an earlier attempt has an end of its own: `failed` or `in_doubt`;
# else null, and what calls the next attempt off is the end.
EARLIER_STATE = f"""
    CASE WHEN message.failed_at IS NOT NULL THEN 'failed'::message_state
         WHEN message.doubted_at IS NOT NULL OR {DOUBTED_BEFORE} THEN 'in_doubt' END"""
EARLIER_DUE_AT = f"""
    CASE WHEN message.failed_at IS NOT NULL THEN NULL
         WHEN message.doubted_at IS NOT NULL THEN message.doubted_at
         WHEN {DOUBTED_BEFORE} THEN now() END"""

# Nobody who is suppressed, or was erased, is sent to again, whatever the policy.
SUPPRESSED = """
    EXISTS (SELECT FROM contacts AS contact
            WHERE contact.id = message.contact_id
              AND (contact.phone LIKE 'erased:%%'
                   OR EXISTS (SELECT FROM suppressions AS suppression WHERE suppression.phone = contact.phone
                              AND (suppression.expires_at IS NULL OR suppression.expires_at > now()))))"""
