-- One row per user whom lists of a table have: how often; see forget_count.
-- Parameters: @keys ARRAY<STRING>; @use_case STRING, empty for all. The program puts in
--   the table.
SELECT
  r.user_id AS id,
  r.user_id AS other_id,
  COUNT(*) AS found
FROM `some_table` AS t
CROSS JOIN UNNEST(t.recipients) AS r
WHERE
  t.as_of >= DATE '1970-01-01'
  AND (@use_case = '' OR t.use_case = @use_case)
  AND r.user_id IN UNNEST(@keys)
GROUP BY 1, 2
