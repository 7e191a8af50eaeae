-- Take users off the list of those of whom nothing may be kept.
-- Parameters: @keys ARRAY<STRING>; @use_case STRING, the entry's own.
DELETE FROM suppressed_users
WHERE
  suppressed_on >= DATE '1970-01-01'
  AND use_case = @use_case
  AND user_hash IN UNNEST(@keys)
