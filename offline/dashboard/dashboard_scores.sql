-- One row per use case, publication and bucket of the probability: how many users had
-- one in it, without the season's shift. A bucket is named by its lower end.
-- Parameters: @since DATE and @until DATE, both included.
-- Source: ma_drift.
SELECT
  d.use_case,
  d.as_of,
  c.value,
  c.users
FROM
  (
    SELECT
      use_case,
      as_of,
      counts
    FROM
      ma_drift
    WHERE
      as_of BETWEEN @since AND @until
      AND thing = 'score'
      AND name = 'probability'
  ) AS d
CROSS JOIN
  UNNEST(d.counts) AS c
ORDER BY
  d.use_case,
  d.as_of DESC
