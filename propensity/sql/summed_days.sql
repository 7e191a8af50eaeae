-- One row per day of the GA4 export that is summed up: of which table, by what, and when.
-- Parameters: @prefix STRING, with which definitions of a use case begin; @first_shard and
--   @last_shard DATE.
-- Source: export_user_days, its rows without a user; of the others it reads one column.
SELECT
  shard,
  source,
  definition,
  summed_at
FROM
  export_user_days
WHERE
  shard BETWEEN @first_shard AND @last_shard
  AND STARTS_WITH(definition, @prefix)
