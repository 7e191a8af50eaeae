-- One row per use case, publication and percentile of the probability, with a hundredth
-- of the users.
-- Parameters: @since DATE and @until DATE, both included.
-- Source: ma_publications.
SELECT
  p.use_case,
  p.as_of,
  value,
  DIV(p.users, 100) AS users
FROM
  ma_publications AS p
CROSS JOIN
  UNNEST(p.quantiles) AS value
WHERE
  p.as_of BETWEEN @since AND @until
ORDER BY
  p.use_case,
  p.as_of DESC
