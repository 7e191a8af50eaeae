-- Part of a condition: rows about some users.
-- Parameters: @user_ids ARRAY<STRING>; @use_case STRING, empty for all. The program puts
--   a table's partition in the place of partition_day.
partition_day >= DATE '1970-01-01'
AND user_id IN UNNEST(@user_ids)
AND (@use_case = '' OR use_case = @use_case)
