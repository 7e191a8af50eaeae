-- Part of a condition: rows about some users, in whatever use case.
-- Parameters: @user_ids ARRAY<STRING>. The program says in the place of every_partition
--   that all are meant.
every_partition
AND user_id IN UNNEST(@user_ids)
