-- At most one row: the newest publication at or before the week.
-- Parameters: @use_case STRING; @week DATE; @since DATE, the oldest one of interest.
-- Source: ma_publications.
SELECT
  as_of,
  model_version,
  log_odds_shift,
  scored_at
FROM
  ma_publications
WHERE
  use_case = @use_case
  AND as_of BETWEEN @since AND @week
ORDER BY
  as_of DESC
LIMIT
  1
