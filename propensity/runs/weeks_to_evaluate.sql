-- One row per week to evaluate, by the first day of its outcomes, with the publication in
-- force (null without one): weeks without final metrics of this very publication, and the
-- newest.
-- Parameters: @use_case STRING; @since DATE, the oldest week of interest; @until DATE,
--   the newest whose outcomes are over; @with_newest BOOL, whether it is one in any case;
--   @lookback_days INT64, for so long a publication is in force at the most;
--   @horizon_days INT64.
-- Of predictions each day the first of a week (from Monday on) stands for all of them, or
-- the first of as many days as the outcomes have, if these are fewer. The newest date is
-- one in any case only if it has no publication of its own, for which another one stands.
-- Metrics name their publication by when its run began, which tells it from another one
-- of the same date.
WITH
  weeks AS (
    SELECT MIN(as_of) AS week
    FROM ma_publications
    WHERE
      use_case = @use_case
      -- The first of the oldest week may be before it.
      AND as_of BETWEEN DATE_SUB(@since, INTERVAL 6 DAY) AND @until
    GROUP BY
      DIV(
        DATE_DIFF(as_of, DATE '1970-01-05', DAY),
        LEAST(@horizon_days, 7)
      )
    HAVING MIN(as_of) >= @since
    UNION DISTINCT
    SELECT week
    FROM ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
    UNION DISTINCT
    SELECT @until
    FROM (SELECT 1)
    WHERE
      @with_newest
      AND NOT EXISTS (
        SELECT 1 FROM ma_publications WHERE use_case = @use_case AND as_of = @until
      )
  )
SELECT
  w.week,
  p.as_of,
  p.model_version,
  p.scored_at,
  p.log_odds_shift,
  p.spread,
  p.value_spread,
  p.freedom
FROM weeks AS w
LEFT JOIN ma_publications AS p
  ON
    p.use_case = @use_case
    AND p.as_of BETWEEN DATE_SUB(w.week, INTERVAL @lookback_days DAY) AND w.week
LEFT JOIN ma_model_evaluation AS e
  ON e.use_case = @use_case AND e.week = w.week
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY w.week ORDER BY p.as_of DESC) = 1
  AND (
    COALESCE(e.status, '') != 'final'
    OR COALESCE(e.prediction_scored_at != p.scored_at, p.scored_at IS NOT NULL)
    OR (@with_newest AND w.week = @until)
  )
ORDER BY w.week
