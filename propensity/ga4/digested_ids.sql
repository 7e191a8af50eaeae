-- One row per browser or login with a row in the digest of some days.
-- Parameters: @first_day and @last_day DATE, the first and the last.
-- Source: ga_user_days, ga_conversions and ga_refusals.
WITH
  ids AS (
    SELECT user_pseudo_id, user_id FROM ga_user_days
    WHERE export_day BETWEEN @first_day AND @last_day
    UNION ALL
    SELECT user_pseudo_id, user_id FROM ga_conversions
    WHERE export_day BETWEEN @first_day AND @last_day
    UNION ALL
    SELECT user_pseudo_id, user_id FROM ga_refusals
    WHERE export_day BETWEEN @first_day AND @last_day
  )
SELECT DISTINCT id AS user_id
FROM ids
CROSS JOIN UNNEST([user_pseudo_id, user_id]) AS id
WHERE id IS NOT NULL
