-- One row per user: the score of the user's newest event that was scored.
-- Parameters: @use_case STRING; @since_day DATE, the first day of scoring to read.
-- Source: inference_log.
SELECT
  user_id,
  probability,
  model_version,
  event_time
FROM inference_log
WHERE
  use_case = @use_case
  AND scored_on >= @since_day
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY user_id
    ORDER BY event_time DESC, scored_at DESC
  ) = 1
