-- One row per day: events, users in all, and the first and the last event's time.
-- Source: events.
SELECT
  STRPTIME(event_date, '%Y%m%d')::DATE AS day,
  COUNT(*) AS n_events,
  MAKE_TIMESTAMP(MIN(event_timestamp)) AS first_time,
  MAKE_TIMESTAMP(MAX(event_timestamp)) AS last_time,
  COUNT(user_pseudo_id) > 0 AS has_pseudo_ids,
  COUNT(user_id) > 0 AS has_user_ids,
  LIST(DISTINCT event_name) AS names,
  (
    SELECT
      COUNT(DISTINCT COALESCE(user_pseudo_id, user_id))
    FROM
      events
  ) AS users
FROM
  events
GROUP BY
  event_date
ORDER BY
  event_date
