-- Part of forget_count: rows of users, or messages of which some name users.
AND `some_id` IN UNNEST(@keys)
