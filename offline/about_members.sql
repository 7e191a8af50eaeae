-- Part of forget_count: rows of members of audiences.
-- Parameters: @kept ARRAY<STRING>, the members whose rows stay.
AND user_id IN UNNEST(@keys)
AND CONCAT(use_case, '/', audience, '/', user_id) NOT IN UNNEST(@kept)
AND (@use_case = '' OR use_case = @use_case)
