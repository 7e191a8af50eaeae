-- One row per evaluated week: what the log-odds of its model lacked, as it was known on
-- @as_of, its standard error, and the users; and the logarithm of what they paid over what
-- was expected, null where either is nothing.
-- Parameters: @use_case STRING; @as_of DATE; @since DATE, the oldest week of interest;
--   @horizon_days INT64.
-- Source: the rows of all runs of 03-ModelEvaluation, up to those of @as_of.
-- Of the publication in force the newest final row counts or, before there is one, the
-- first: a rerun finds what the first run found. A week whose probabilities are of
-- another week does not count: their users have changed since.
WITH
  evaluated AS (
    SELECT
      *,
      metrics.residual_log_odds + COALESCE(log_odds_shift, 0) AS log_odds,
      metrics.residual_standard_error AS standard_error
    FROM ma_model_evaluation_runs
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND DATE_SUB(@as_of, INTERVAL @horizon_days DAY)
      AND as_of <= @as_of
      AND model_version >= 0
  )
SELECT
  week,
  log_odds,
  standard_error,
  conversions,
  users - conversions AS others,
  IF(
    value_observed > 0 AND value_promised > 0,
    LN(CAST(value_observed AS FLOAT64) / CAST(value_promised AS FLOAT64)),
    NULL
  ) AS log_revenue
FROM evaluated
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY week
    ORDER BY
      prediction_as_of DESC,
      prediction_scored_at DESC,
      log_odds IS NOT NULL DESC,
      status = 'final' DESC,
      IF(status = 'final', evaluated_at, NULL) DESC,
      evaluated_at
  ) = 1
  AND log_odds IS NOT NULL
  AND prediction_as_of > DATE_SUB(week, INTERVAL @horizon_days DAY)
ORDER BY week
