-- One row per evaluated week: what the log-odds of its model lacked, as it was known on
-- @as_of, its standard error, the users, and what late labels had added.
-- Parameters: @use_case STRING; @since DATE, the oldest week of interest; @until DATE, the
--   newest whose outcomes are over; @final_until DATE, the newest whose labels are final;
--   @horizon_days INT64.
-- Source: ma_model_evaluation.
-- A week that was not final on @as_of counts as it was evaluated on its end. One whose
-- probabilities are of another week does not count: their users have changed since.
SELECT
  week,
  model_version,
  IF(is_known_early, provisional_log_odds, log_odds) AS log_odds,
  IF(is_known_early, provisional_standard_error, standard_error) AS standard_error,
  IF(is_known_early, provisional_conversions, conversions) AS conversions,
  users,
  is_final AND NOT is_known_early AS is_final,
  IF(is_final AND NOT is_known_early, log_odds - provisional_log_odds, NULL) AS late
FROM
  (
    SELECT
      week,
      model_version,
      users,
      conversions,
      residual_log_odds + COALESCE(log_odds_shift, 0) AS log_odds,
      residual_standard_error AS standard_error,
      provisional_log_odds,
      provisional_standard_error,
      provisional_conversions,
      status = 'final' AS is_final,
      week > @final_until AND provisional_log_odds IS NOT NULL AS is_known_early
    FROM
      ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
      AND model_version >= 0
      AND residual_log_odds IS NOT NULL
      AND prediction_as_of > DATE_SUB(week, INTERVAL @horizon_days DAY)
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY week
        ORDER BY evaluated_at DESC, model_version DESC
      ) = 1
  )
ORDER BY
  week
