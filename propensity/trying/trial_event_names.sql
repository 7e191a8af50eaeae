-- One row per event of an export and how many users have it, the commonest first.
-- Parameters: @first_suffix and @last_suffix STRING, the tables that are read: a week's.
-- Source: the export. It is asked where nobody has the event that is predicted, and its
-- bytes are in the price that was said.
SELECT
  event_name,
  COUNT(DISTINCT user_pseudo_id) AS users
FROM `ga_events`
WHERE
  table_suffix BETWEEN @first_suffix AND @last_suffix
  AND event_name NOT IN ('session_start', 'first_visit', 'user_engagement')
GROUP BY event_name
ORDER BY users DESC, event_name
LIMIT 10
