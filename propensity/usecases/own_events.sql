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
