-- At most one row: the newest publication before a date.
-- Parameters: @use_case STRING; @as_of DATE; @since DATE, the oldest of interest.
-- Source: ma_publications.
SELECT
  as_of,
  quantiles,
  log_odds_shift
FROM ma_publications
WHERE
  use_case = @use_case
  AND as_of >= @since
  AND as_of < @as_of
ORDER BY as_of DESC
LIMIT 1
