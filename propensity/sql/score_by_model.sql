-- Score every user of the lookback into the staging table, where the data are.
-- Parameters: those of the features; @run_id STRING and @staged_on DATE, of the rows;
--   @is_shifted BOOL and @log_odds_shift FLOAT64, the season's shift, if there is one.
-- Placeholders: `model`, the name of an imported graph; `inputs`, its inputs;
--   `features`, the statement that gives the features. A shift leaves 0 and 1 as they are.
INSERT INTO
  ma_predictions_staging
  (
    run_id,
    staged_on,
    user_id,
    probability
  )
SELECT
  @run_id,
  @staged_on,
  user_id,
  IF(
    @is_shifted,
    1 / (1 + IEEE_DIVIDE(1 - probability, probability) * EXP(-@log_odds_shift)),
    probability
  )
FROM
  ML.PREDICT(
    MODEL `model`,
    (
      SELECT
        `inputs`
        CAST(user_id AS STRING) AS user_id
      FROM
        (
          `features`
        )
    )
  )
