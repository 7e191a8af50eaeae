-- Part of a statement: one row per event of a table of one's own, as [events] declares it.
-- Parts: the columns, and `events_from`, the parameter with the first day that is read (a
--   constant: older partitions are not read).
SELECT
  CAST(`events_user` AS STRING) AS user_id,
  TIMESTAMP(`events_time`) AS event_time,
  `events_name` AS event_name,
  `events_amount` AS amount
FROM `events_table`
WHERE
  DATE(`events_time`) >= `events_from`
  AND LOWER(TRIM(CAST(`events_user` AS STRING))) NOT IN (
    -- include: meaningless_ids.sql
  )
