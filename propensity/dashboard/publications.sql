-- One row per publication of probabilities, newest first.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  as_of,
  model_version,
  users,
  mean_probability,
  conversions_low,
  conversions_high,
  value_promised,
  value_low,
  value_high
FROM ma_publications
WHERE as_of BETWEEN @since AND @until
ORDER BY use_case, as_of DESC
