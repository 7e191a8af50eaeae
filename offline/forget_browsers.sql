-- One row per browser whose last user id in the export is one of some users. An id that
-- was on more than 50 browsers in two months that follow each other is nobody's, as in
-- persons.sql by two lookbacks: strangers would go with it. Nor does it hide the login
-- before it. A browser of more than 50 ids is nobody's in the same way.
-- Parameters: @keys ARRAY<STRING>.
-- Source: the export, and purchases of its digest, which may be older than its tables.
WITH
  events AS (
    SELECT
      user_pseudo_id,
      user_id,
      event_timestamp,
      PARSE_DATE('%Y%m', SUBSTR(table_suffix, 1, 6)) AS month
    FROM ga_events
    WHERE table_suffix BETWEEN '00000000' AND '99999999'
    UNION ALL
    SELECT
      user_pseudo_id,
      user_id,
      event_timestamp,
      DATE_TRUNC(export_day, MONTH) AS month
    FROM ga_conversions
    WHERE export_day >= '2000-01-01'
  ),
  pairs AS (
    SELECT DISTINCT user_pseudo_id, user_id, first_month
    FROM events
    CROSS JOIN UNNEST([month, DATE_SUB(month, INTERVAL 1 MONTH)]) AS first_month
    WHERE
      user_pseudo_id IS NOT NULL
      AND user_id IS NOT NULL
  )
SELECT user_pseudo_id
FROM events
WHERE
  user_pseudo_id IS NOT NULL
  AND user_id IS NOT NULL
  AND user_id NOT IN (
    SELECT user_id FROM pairs
    GROUP BY user_id, first_month
    HAVING COUNT(*) > 50
  )
  AND user_pseudo_id NOT IN (
    SELECT user_pseudo_id FROM pairs
    GROUP BY user_pseudo_id, first_month
    HAVING COUNT(*) > 50
  )
GROUP BY user_pseudo_id
HAVING MAX_BY(user_id, event_timestamp) IN UNNEST(@keys)
