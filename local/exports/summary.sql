-- One row per day: events, which columns of users any has, and the users of all days.
-- Source: events.
SELECT
  STRPTIME(event_date, '%Y%m%d')::DATE AS day,
  COUNT(*) AS n_events,
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
