-- Part of a condition: rows about some users.
-- Parameters: @user_ids ARRAY<STRING>; @use_case STRING, empty for all. The program says
--   in the place of every_partition that all are meant.
every_partition
AND user_id IN UNNEST(@user_ids)
AND (@use_case = '' OR use_case = @use_case)
