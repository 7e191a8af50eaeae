-- One row per moment at which some users were put on the list of suppressed ones: a run
-- of forget has one.
-- Parameters: @hashes ARRAY<STRING>; @use_case STRING, the entry's own.
SELECT DISTINCT suppressed_at
FROM suppressed_users
WHERE
  suppressed_on >= DATE '1970-01-01'
  AND use_case = @use_case
  AND user_hash IN UNNEST(@hashes)
