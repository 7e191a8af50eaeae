-- One row per use case whose audiences some users were sent by.
-- Parameters: @keys ARRAY<STRING>, the users; @use_case STRING, empty for all.
-- Source: ma_audience_ledger, all dates.
SELECT DISTINCT use_case
FROM ma_audience_ledger
WHERE
  as_of >= DATE '1970-01-01'
  AND user_id IN UNNEST(@keys)
  AND (@use_case = '' OR use_case = @use_case)
ORDER BY use_case
