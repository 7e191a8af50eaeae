-- One row per evaluated week: what the log-odds of its model lacked, as it was known on
-- @as_of, its standard error, the users, and what late labels had added.
-- Parameters: @use_case STRING; @since DATE, the oldest week of interest; @until DATE, the
--   newest whose outcomes are over; @final_until DATE, the newest whose labels are final;
--   @horizon_days INT64.
-- Source: ma_model_evaluation, and the first run as of the end of a week.
-- A week that was not final on @as_of counts as that run evaluated it. One whose
-- probabilities are of another week does not count: their users have changed since.
WITH
  newest AS (
    SELECT
      week,
      model_version,
      prediction_scored_at,
      users,
      conversions,
      CAST(JSON_VALUE(metrics, '$.residual_log_odds') AS FLOAT64)
      + COALESCE(log_odds_shift, 0) AS log_odds,
      CAST(JSON_VALUE(metrics, '$.residual_standard_error') AS FLOAT64) AS standard_error,
      status = 'final' AS is_final
    FROM
      ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
      AND model_version >= 0
      AND JSON_VALUE(metrics, '$.residual_log_odds') IS NOT NULL
      AND prediction_as_of > DATE_SUB(week, INTERVAL @horizon_days DAY)
  ),
  early AS (
    SELECT
      week,
      prediction_scored_at,
      conversions,
      CAST(JSON_VALUE(metrics, '$.residual_log_odds') AS FLOAT64)
      + COALESCE(log_odds_shift, 0) AS log_odds,
      CAST(JSON_VALUE(metrics, '$.residual_standard_error') AS FLOAT64) AS standard_error
    FROM
      ma_model_evaluation_runs
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
      AND as_of = week_end
      AND status = 'provisional'
      AND JSON_VALUE(metrics, '$.residual_log_odds') IS NOT NULL
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY week, prediction_scored_at
        ORDER BY evaluated_at
      ) = 1
  ),
  known AS (
    SELECT
      n.*,
      e.log_odds AS early_log_odds,
      e.standard_error AS early_standard_error,
      e.conversions AS early_conversions,
      n.week > @final_until AND e.week IS NOT NULL AS is_known_early
    FROM
      newest AS n
    LEFT JOIN
      early AS e
      ON e.week = n.week AND e.prediction_scored_at = n.prediction_scored_at
  )
SELECT
  week,
  model_version,
  IF(is_known_early, early_log_odds, log_odds) AS log_odds,
  IF(is_known_early, early_standard_error, standard_error) AS standard_error,
  IF(is_known_early, early_conversions, conversions) AS conversions,
  users - IF(is_known_early, early_conversions, conversions) AS others,
  is_final AND NOT is_known_early AS is_final,
  IF(is_final AND NOT is_known_early, log_odds - early_log_odds, NULL) AS late
FROM
  known
ORDER BY
  week
