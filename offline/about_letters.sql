-- Part of forget_count: rows of messages, of which some name users.
AND message_id IN UNNEST(@keys)
