-- Publish one run's staged scores: all of it or, where any step fails, nothing.
-- Parameters: @run_id STRING and @staged_on DATE, the staged rows; @use_case STRING;
--   @as_of DATE; @model_version INT64; @scored_at TIMESTAMP; @edges ARRAY<FLOAT64>, the
--   99 inner percentiles of the staged probabilities, ascending; @reads_export BOOL and
--   @data_until DATE, up to when the export was read, if it was; @is_shifted BOOL and
--   @log_odds_shift FLOAT64, the season's shift in the probabilities, if there is one.
-- Source: ma_predictions_staging.
-- The week's history is replaced as a whole. In the current table re-scored users are
-- overwritten, new ones added and the others kept; a rerun of an older week takes the
-- row of no user who has a newer one.
BEGIN TRANSACTION;

DELETE FROM
  ma_predictions_history
WHERE
  use_case = @use_case
  AND as_of = @as_of;

INSERT INTO
  ma_predictions_history
  (
    use_case,
    user_id,
    as_of,
    probability,
    percentile,
    model_version,
    scored_at,
    data_until,
    log_odds_shift,
    expected_value
  )
SELECT
  @use_case,
  user_id,
  @as_of,
  probability,
  1 + RANGE_BUCKET(probability, @edges),
  @model_version,
  @scored_at,
  IF(@reads_export, @data_until, NULL),
  IF(@is_shifted, @log_odds_shift, NULL),
  expected_value
FROM
  ma_predictions_staging
WHERE
  staged_on = @staged_on
  AND run_id = @run_id;

MERGE
  ma_predictions_table AS t
USING
  (
    SELECT
      use_case,
      user_id,
      as_of,
      probability,
      percentile,
      model_version,
      scored_at,
      data_until,
      log_odds_shift,
      expected_value
    FROM
      ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of = @as_of
  ) AS s
ON
  t.use_case = s.use_case AND t.user_id = s.user_id
WHEN MATCHED AND s.as_of >= t.as_of THEN
  UPDATE SET
    as_of = s.as_of,
    probability = s.probability,
    percentile = s.percentile,
    model_version = s.model_version,
    scored_at = s.scored_at,
    data_until = s.data_until,
    log_odds_shift = s.log_odds_shift,
    expected_value = s.expected_value
WHEN NOT MATCHED THEN
  INSERT (
    use_case,
    user_id,
    as_of,
    probability,
    percentile,
    model_version,
    scored_at,
    data_until,
    log_odds_shift,
    expected_value
  )
  VALUES (
    s.use_case,
    s.user_id,
    s.as_of,
    s.probability,
    s.percentile,
    s.model_version,
    s.scored_at,
    s.data_until,
    s.log_odds_shift,
    s.expected_value
  );

COMMIT TRANSACTION;
