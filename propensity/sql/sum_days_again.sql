-- Have the next run sum up all days of the GA4 export anew: no table is one that was.
-- Parameters: @use_case STRING, empty for all.
UPDATE
  export_user_days
SET
  source = ''
WHERE
  shard >= DATE '1970-01-01'
  AND user_id IS NULL
  AND (@use_case = '' OR use_case = @use_case)
