-- At most one row: the newest publication of some as-of dates.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
SELECT
  as_of,
  users,
  mean_probability,
  conversions_low,
  conversions_high,
  quantiles,
  log_odds_shift,
  model_version
FROM ma_publications
WHERE
  use_case = @use_case
  AND as_of BETWEEN @since AND @until
ORDER BY as_of DESC
LIMIT 1
