-- Part of forget_count: messages of which some name users.
AND message_id IN UNNEST(@keys)
