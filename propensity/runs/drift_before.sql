-- One row per thing that is watched for drift and publication of some dates,
-- newest publication first.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
-- Source: ma_drift.
SELECT
  as_of,
  thing,
  name,
  kind,
  model_version,
  users,
  missing,
  counts,
  value,
  error
FROM
  ma_drift
WHERE
  use_case = @use_case
  AND as_of BETWEEN @since AND @until
ORDER BY
  as_of DESC,
  thing,
  name
