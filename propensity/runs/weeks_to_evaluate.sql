-- One row per week whose outcomes are over and whose figures are not final, or are those
-- of a publication that was replaced since: where a publication is in force, or where it
-- has provisional figures.
-- Parameters: @use_case STRING; @since DATE, the oldest week of interest; @until DATE,
--   the newest whose outcomes are over; @lookback_days INT64, for so long a publication
--   is in force at the most; @published_since DATE, so many days before the oldest week.
-- Source: ma_publications, ma_model_evaluation.
-- A week without a publication of its own is one of the publication in force for it.
-- Figures name the publication by when its run began, which tells it from another one of
-- the same date, whichever of the two began first and whenever the week was evaluated.
-- Figures from before they did so are taken by the time of their evaluation.
WITH
  published AS (
    SELECT
      as_of,
      scored_at AS published_at
    FROM
      ma_publications
    WHERE
      use_case = @use_case
      AND as_of BETWEEN @published_since AND @until
  ),
  known AS (
    SELECT
      week,
      MAX(IF(model_version >= 0, evaluated_at, NULL)) AS evaluated_at,
      MAX(IF(model_version >= 0, prediction_scored_at, NULL)) AS published_at,
      COUNTIF(model_version >= 0 AND status = 'final') > 0 AS is_final,
      COUNTIF(status = 'provisional') > 0 AS is_provisional
    FROM
      ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
    GROUP BY
      week
  ),
  in_force AS (
    SELECT
      weeks.week,
      ARRAY_AGG(p.published_at ORDER BY p.as_of DESC LIMIT 1)[OFFSET(0)]
        AS published_at
    FROM
      (
        SELECT
          as_of AS week
        FROM
          published
        WHERE
          as_of >= @since
        UNION DISTINCT
        SELECT
          week
        FROM
          known
      ) AS weeks
    INNER JOIN
      published AS p
      ON
        p.as_of <= weeks.week
        AND p.as_of >= DATE_SUB(weeks.week, INTERVAL @lookback_days DAY)
    GROUP BY
      weeks.week
  ),
  found AS (
    SELECT
      week,
      in_force.week IS NOT NULL AS is_published,
      COALESCE(known.is_final, FALSE) AS is_final,
      COALESCE(known.is_provisional, FALSE) AS is_provisional,
      COALESCE(
        in_force.published_at != known.published_at,
        in_force.published_at > known.evaluated_at,
        FALSE
      ) AS is_republished
    FROM
      in_force
    FULL OUTER JOIN
      known
      USING (week)
  )
SELECT
  week
FROM
  found
WHERE
  NOT is_final
  AND (is_published OR is_provisional)
  OR is_republished
ORDER BY
  week
