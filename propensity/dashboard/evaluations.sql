-- One row per evaluated week, or day of events, and model version, newest first.
-- Parameters: @since DATE and @until DATE, both included; outcomes that were over by then.
SELECT
  * EXCEPT (metrics),
  metrics.*
FROM ma_model_evaluation
WHERE
  week BETWEEN @since AND @until
  AND COALESCE(week_end, week) <= @until
ORDER BY use_case, week DESC, model_version DESC
