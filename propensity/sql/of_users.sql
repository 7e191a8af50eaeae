-- Part of a condition: rows about some users, in whatever use case.
-- Parameters: @user_ids ARRAY<STRING>. The program puts a table's partition in the place
--   of partition_day.
partition_day >= DATE '1970-01-01'
AND user_id IN UNNEST(@user_ids)
