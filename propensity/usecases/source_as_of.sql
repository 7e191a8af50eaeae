-- Part of features.sql: one row per as-of date and user of a source, the newest that was
-- known before the as-of date; of rows of one moment always the same one.
-- Parameters: @as_ofs ARRAY<DATE>, each read at its midnight UTC; @known_before DATE,
--   the last of them (a constant: partitions from it on are not read).
SELECT
  as_of,
  s.*
FROM UNNEST(@as_ofs) AS as_of
CROSS JOIN
  (
    SELECT
      CAST(`source_user` AS STRING) AS user_id,
      `source_columns`
    FROM `source_table`
    WHERE
      `source_user` IS NOT NULL
      AND DATE(`source_valid_from`) < @known_before
  ) AS s
WHERE TIMESTAMP(s.`source_valid_from`) < TIMESTAMP(as_of)
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY as_of, s.user_id
    ORDER BY
      TIMESTAMP(s.`source_valid_from`) DESC,
      TO_JSON_STRING(s) DESC
  ) = 1
