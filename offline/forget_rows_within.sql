-- Remove some users from the lists of a table, then rows whose list is empty: their key
-- is a hash of those who were in it. See forget_count_within.
-- Parameters and parts: as there; @keys ARRAY<STRING>; @use_case STRING.
UPDATE `some_table` AS t
SET recipients = ARRAY(
  SELECT AS STRUCT
    r.user_id,
    r.address
  FROM UNNEST(t.recipients) AS r
  WHERE r.user_id NOT IN UNNEST(@keys)
)
WHERE
  t.as_of >= DATE '1970-01-01'
  AND (@use_case = '' OR t.use_case = @use_case)
  AND EXISTS (
    SELECT 1
    FROM UNNEST(t.recipients) AS r
    WHERE r.user_id IN UNNEST(@keys)
  );

DELETE FROM `some_table`
WHERE
  as_of >= DATE '1970-01-01'
  AND (@use_case = '' OR use_case = @use_case)
  AND ARRAY_LENGTH(recipients) = 0;
