-- One row: how many users who were put on the list at some moments are still on it.
-- Parameters: @moments ARRAY<TIMESTAMP>; @use_case STRING, the entry's own.
SELECT COUNT(*) AS entries
FROM suppressed_users
WHERE
  suppressed_on >= DATE '1970-01-01'
  AND use_case = @use_case
  AND suppressed_at IN UNNEST(@moments)
