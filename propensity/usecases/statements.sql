-- statement: own_events
-- Part of a statement: one row per event of a table of one's own, as [events] declares it.
-- Parameters: @earliest DATE, before the first lookback (a constant: older partitions are
--   not read).
SELECT
  CAST(`events_user` AS STRING) AS user_id,
  TIMESTAMP(`events_time`) AS event_time,
  `events_name` AS event_name,
  `events_amount` AS amount
FROM `events_table`
WHERE
  DATE(`events_time`) >= @earliest
  AND LOWER(TRIM(CAST(`events_user` AS STRING))) NOT IN (
    -- include: meaningless_ids.sql
  )

-- statement: own_events_as_of
-- Part of a statement: one row per as-of date and event of a table of one's own, in the
-- lookback before the date and in so many days from it on. Events of other dates are in
-- no row, whatever the statement says.
-- Parameters: @as_ofs ARRAY<DATE>, each read at its midnight UTC; @lookback_days INT64;
--   @known_before DATE, the last of them (a constant: later partitions are not read).
SELECT
  as_of,
  -- From 1 on before the date, and 0 or less from it on.
  DATE_DIFF(as_of, EXTRACT(DATE FROM e.event_time), DAY) AS days_ago,
  e.*
FROM UNNEST(@as_ofs) AS as_of
INNER JOIN
  (
-- include: own_events.sql
    AND DATE(`events_time`) < DATE_ADD(@known_before, INTERVAL `days_after` DAY)
  ) AS e
  ON
    e.event_time >= TIMESTAMP(DATE_SUB(as_of, INTERVAL @lookback_days DAY))
    AND e.event_time < TIMESTAMP(DATE_ADD(as_of, INTERVAL `days_after` DAY))

-- statement: source_as_of
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

-- statement: own_table
-- Part of reading_own_tables: a table by the name that a statement calls it.
`table_name` AS (
  `table_rows`
)

-- statement: reading_own_tables
-- A statement of a use case, and the tables of the user's own that it reads.
WITH
  `own_tables`
SELECT *
FROM
  (
    -- include: own_statement.sql
  )
