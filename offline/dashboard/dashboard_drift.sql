-- One row per publication and thing that is watched for drift, as the newest run has
-- written it, newest publication first.
-- Parameters: @since DATE and @until DATE, both included.
-- Source: ma_drift.
SELECT
  use_case,
  as_of,
  thing,
  name,
  model_version,
  written_at,
  users,
  missing,
  value,
  error,
  distance,
  noise,
  threshold,
  is_alarm,
  cause,
  message
FROM
  ma_drift
WHERE
  as_of BETWEEN @since AND @until
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY use_case, as_of, thing, name
    ORDER BY written_at DESC, run_id
  ) = 1
ORDER BY
  use_case,
  as_of DESC,
  thing,
  name
