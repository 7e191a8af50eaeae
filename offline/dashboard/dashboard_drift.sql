-- One row per publication and signal that is watched for drift, as the newest run has
-- written it, newest publication first.
-- Parameters: @since DATE and @until DATE, both included.
-- Source: ma_drift.
SELECT
  use_case,
  as_of,
  kind,
  name,
  model_version,
  written_at,
  users,
  users_before,
  missing,
  missing_before,
  psi,
  bound,
  is_alarm,
  cause,
  message
FROM
  ma_drift
WHERE
  as_of BETWEEN @since AND @until
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY use_case, as_of, kind, name
    ORDER BY written_at DESC, run_id
  ) = 1
ORDER BY
  use_case,
  as_of DESC,
  kind,
  name
