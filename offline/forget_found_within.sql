-- One row for each of some users whom lists of a table have.
-- Parameters and parts: as forget_count_within; @keys ARRAY<STRING>; @use_case STRING;
--   @kept ARRAY<STRING>.
SELECT DISTINCT r.user_id
FROM `some_table` AS t
CROSS JOIN UNNEST(t.recipients) AS r
WHERE
  t.as_of >= DATE '1970-01-01'
  AND (@use_case = '' OR t.use_case = @use_case)
  AND r.user_id IN UNNEST(@keys)
  AND CONCAT(t.use_case, '/', t.audience, '/', r.user_id) NOT IN UNNEST(@kept)
