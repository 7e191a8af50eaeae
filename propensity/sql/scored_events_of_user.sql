-- One row per score that an event of a user on a day was given, the newest event first.
-- Parameters: @use_case, @user_id STRING; @as_of DATE, the UTC day of the events.
-- Source: inference_log.
-- An event can be scored up to a day before it happened, by a clock that is wrong, and
-- any time after it. Shadows, and events that no version scored, are left out.
SELECT
  event_id,
  event_time,
  model_version,
  probability,
  anomaly_score,
  features,
  scored_at
FROM
  inference_log
WHERE
  use_case = @use_case
  AND user_id = @user_id
  AND event_date = @as_of
  AND scored_on >= DATE_SUB(@as_of, INTERVAL 1 DAY)
  AND model_version >= 0
  AND NOT IFNULL(is_shadow, FALSE)
  AND features IS NOT NULL
  AND (probability IS NOT NULL OR anomaly_score IS NOT NULL)
ORDER BY
  event_time DESC,
  scored_at DESC
