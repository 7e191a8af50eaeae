-- Part of forget_count: rows of users.
AND user_id IN UNNEST(@keys)
AND (@use_case = '' OR use_case = @use_case)
