-- One row per browser whose last user id in the export is one of some users.
-- Parameters: @user_ids ARRAY<STRING>.
SELECT user_pseudo_id
FROM ga_events
WHERE
  table_suffix BETWEEN '00000000' AND '99999999'
  AND user_pseudo_id IS NOT NULL
  AND user_id IS NOT NULL
GROUP BY user_pseudo_id
HAVING MAX_BY(user_id, event_timestamp) IN UNNEST(@user_ids)
