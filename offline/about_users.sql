-- Part of forget_count: rows of users.
AND user_id IN UNNEST(@keys)
