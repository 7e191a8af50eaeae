-- One row per publication of probabilities: what it promised and what it billed, newest
-- first.
-- Parameters: @since DATE and @until DATE, both included.
-- Source: ma_publications.
SELECT
  use_case,
  as_of,
  model_version,
  scored_at,
  users,
  mean_probability,
  value_promised,
  bytes_billed,
  seconds
FROM
  ma_publications
WHERE
  as_of BETWEEN @since AND @until
ORDER BY
  use_case,
  as_of DESC
