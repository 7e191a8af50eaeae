-- Part of forget_count: rows of events, of which users have some.
AND CONCAT(use_case, '/', event_id) IN UNNEST(@keys)
AND (@use_case = '' OR use_case = @use_case)
