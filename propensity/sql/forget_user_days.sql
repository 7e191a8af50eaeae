-- Remove the sums of suppressed users, whom a day that was summed up anew brought back.
-- Parameters: @use_case STRING; @first_shard DATE; @user_ids ARRAY<STRING>.
DELETE FROM
  export_user_days
WHERE
  shard >= @first_shard
  AND use_case = @use_case
  AND user_id IN UNNEST(@user_ids)
