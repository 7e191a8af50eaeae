-- Remove some users from the lists of a table; a row without users goes, since its key is
-- a hash of those who were in it. See forget_count_within.
-- Parameters and parts: as there; @keys ARRAY<STRING>; @use_case STRING; @kept
--   ARRAY<STRING>.
BEGIN TRANSACTION;

INSERT INTO `some_table`
SELECT
  t.* REPLACE (
    ARRAY(
      SELECT AS STRUCT
        r.user_id,
        r.address
      FROM UNNEST(t.recipients) AS r
      WHERE
        r.user_id NOT IN UNNEST(@keys)
        OR CONCAT(t.use_case, '/', t.audience, '/', r.user_id) IN UNNEST(@kept)
    ) AS recipients
  )
FROM `some_table` AS t
WHERE
  t.as_of >= DATE '1970-01-01'
  AND (@use_case = '' OR t.use_case = @use_case)
  AND EXISTS (
    SELECT 1
    FROM UNNEST(t.recipients) AS r
    WHERE
      r.user_id IN UNNEST(@keys)
      AND CONCAT(t.use_case, '/', t.audience, '/', r.user_id) NOT IN UNNEST(@kept)
  )
  AND EXISTS (
    SELECT 1
    FROM UNNEST(t.recipients) AS r
    WHERE
      r.user_id NOT IN UNNEST(@keys)
      OR CONCAT(t.use_case, '/', t.audience, '/', r.user_id) IN UNNEST(@kept)
  );

DELETE FROM `some_table` AS t
WHERE
  t.as_of >= DATE '1970-01-01'
  AND (@use_case = '' OR t.use_case = @use_case)
  AND EXISTS (
    SELECT 1
    FROM UNNEST(t.recipients) AS r
    WHERE
      r.user_id IN UNNEST(@keys)
      AND CONCAT(t.use_case, '/', t.audience, '/', r.user_id) NOT IN UNNEST(@kept)
  );

COMMIT TRANSACTION;
