-- One row per publication and feature, and one of the scores with their distribution,
-- beside the training of the model: newest first, those that moved most first.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  as_of,
  kind,
  name,
  psi,
  bound,
  IF(kind = 'score', bins, NULL) AS bins,
  is_alarm,
  cause,
  message
FROM ma_drift
WHERE as_of BETWEEN @since AND @until
ORDER BY use_case, as_of DESC, psi DESC, name
