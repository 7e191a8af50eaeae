-- One row per run that left rows, newest first: trainings, evaluations, publications,
-- deliveries of audiences.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  trained_at AS ended_at,
  'training' AS run,
  use_case,
  FORMAT('version %d, %s', model_version, IF(promoted, 'promoted', 'not promoted'))
    AS result,
  users,
  seconds,
  bytes_billed
FROM ma_model_training_metadata
WHERE
  training_date BETWEEN @since AND @until
  AND COALESCE(as_of, training_date) <= @until
UNION ALL
SELECT
  evaluated_at,
  'evaluation',
  use_case,
  FORMAT('%t to %t', MIN(week), MAX(week)),
  SUM(users),
  NULL,
  MAX(bytes_billed)
FROM ma_model_evaluation
WHERE
  week BETWEEN @since AND @until
  AND COALESCE(week_end, week) <= @until
GROUP BY use_case, evaluated_at
UNION ALL
SELECT
  scored_at,
  'publication',
  use_case,
  FORMAT('%t, version %d', as_of, model_version),
  users,
  seconds,
  bytes_billed
FROM ma_publications
WHERE as_of BETWEEN @since AND @until
UNION ALL
SELECT
  MAX(recorded_at),
  'delivery',
  use_case,
  FORMAT('%t, %s to %s', as_of, audience, destination),
  COUNT(*),
  NULL,
  NULL
FROM ma_audience_ledger
WHERE as_of BETWEEN @since AND @until
GROUP BY use_case, audience, destination, as_of
ORDER BY ended_at DESC
