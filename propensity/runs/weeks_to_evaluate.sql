-- One row per week to evaluate, with the publication in force (null without one): weeks
-- without final metrics of this very publication, and the newest.
-- Parameters: @use_case STRING; @since DATE, the oldest week of interest; @until DATE,
--   the newest whose outcomes are over; @with_newest BOOL, whether it is one in any case;
--   @lookback_days INT64, for so long a publication is in force at the most;
--   @published_since DATE, so many days before the oldest week.
-- Source: ma_publications, ma_model_evaluation.
-- Metrics name their publication by when its run began, which tells it from another one
-- of the same date.
WITH
  published AS (
    SELECT
      *
    FROM
      ma_publications
    WHERE
      use_case = @use_case
      AND as_of BETWEEN @published_since AND @until
  ),
  known AS (
    SELECT
      week,
      status,
      prediction_scored_at
    FROM
      ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
  ),
  in_force AS (
    SELECT
      w.week,
      p.as_of,
      p.model_version,
      p.scored_at,
      p.log_odds_shift
    FROM
      (
        SELECT as_of AS week FROM published WHERE as_of >= @since
        UNION DISTINCT
        SELECT week FROM known
        UNION DISTINCT
        SELECT @until FROM (SELECT 1) WHERE @with_newest
      ) AS w
    LEFT JOIN
      published AS p
      ON
        p.as_of <= w.week
        AND p.as_of >= DATE_SUB(w.week, INTERVAL @lookback_days DAY)
    WHERE
      TRUE
    QUALIFY
      ROW_NUMBER() OVER (PARTITION BY w.week ORDER BY p.as_of DESC) = 1
  )
SELECT
  f.*
FROM
  in_force AS f
LEFT JOIN
  known AS k
  ON k.week = f.week
WHERE
  COALESCE(k.status, '') != 'final'
  OR COALESCE(k.prediction_scored_at != f.scored_at, f.scored_at IS NOT NULL)
  OR (@with_newest AND f.week = @until)
ORDER BY
  f.week
