-- Publish what a run has scored: all of it or, where any step fails, nothing.
-- Parameters: @use_case STRING; @as_of DATE; @run_id STRING; @model_version INT64;
--   @scored_at TIMESTAMP; @data_until DATE, up to when the export was read, null if it
--   was not; @users INT64; @mean_probability FLOAT64; @quantiles ARRAY<FLOAT64>;
--   @log_odds_shift FLOAT64, the season's, null without one; @value_promised NUMERIC, null
--   without amounts; @bytes_billed INT64; @seconds FLOAT64; @conversions_low and
--   @conversions_high INT64; @value_low and @value_high NUMERIC; @spread and @value_spread
--   FLOAT64; @freedom INT64: the range, null without one.
-- In the current table re-scored users are overwritten, new ones added and the others
-- kept, unless a setting bounds how long; a rerun of an older date takes the row of no user who has a newer one.
-- Deciles of the expected value that begin with the same value are one.
BEGIN TRANSACTION;

INSERT INTO
  ma_publications_runs
  (
    use_case,
    as_of,
    model_version,
    run_id,
    scored_at,
    published_at,
    data_until,
    users,
    mean_probability,
    quantiles,
    log_odds_shift,
    value_promised,
    bytes_billed,
    seconds,
    conversions_low,
    conversions_high,
    value_low,
    value_high,
    spread,
    value_spread,
    freedom,
    value_deciles
  )
SELECT
  @use_case AS use_case,
  @as_of AS as_of,
  @model_version AS model_version,
  @run_id AS run_id,
  @scored_at AS scored_at,
  CURRENT_TIMESTAMP() AS published_at,
  @data_until AS data_until,
  @users AS users,
  @mean_probability AS mean_probability,
  @quantiles AS quantiles,
  @log_odds_shift AS log_odds_shift,
  @value_promised AS value_promised,
  @bytes_billed AS bytes_billed,
  @seconds AS seconds,
  @conversions_low AS conversions_low,
  @conversions_high AS conversions_high,
  @value_low AS value_low,
  @value_high AS value_high,
  @spread AS spread,
  @value_spread AS value_spread,
  @freedom AS freedom,
  (
    SELECT ARRAY_AGG(STRUCT(least, mean) ORDER BY least)
    FROM
      (
        SELECT
          MIN(s.expected_value) AS least,
          ROUND(AVG(s.expected_value), 2) AS mean
        FROM ma_predictions_runs AS s
        CROSS JOIN
          (
            SELECT APPROX_QUANTILES(expected_value, 10) AS bounds
            FROM ma_predictions_runs
            WHERE
              use_case = @use_case
              AND as_of = @as_of
              AND run_id = @run_id
          ) AS q
        WHERE
          s.use_case = @use_case
          AND s.as_of = @as_of
          AND s.run_id = @run_id
          AND s.expected_value IS NOT NULL
        GROUP BY
          -- The last bound is the greatest value, and no decile begins with it.
          LEAST(
            10,
            (SELECT COUNTIF(bound <= s.expected_value) FROM UNNEST(q.bounds) AS bound)
          )
      )
  ) AS value_deciles;

MERGE ma_predictions_table AS t
USING
  (
    SELECT * FROM ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of = @as_of
  ) AS s
ON
  t.use_case = @use_case AND t.user_id = s.user_id
WHEN MATCHED AND s.as_of >= t.as_of THEN
  UPDATE SET
    as_of = s.as_of,
    probability = s.probability,
    percentile = s.percentile,
    model_version = s.model_version,
    scored_at = s.scored_at,
    data_until = s.data_until,
    log_odds_shift = s.log_odds_shift,
    expected_value = s.expected_value,
    decile_value = s.decile_value
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
    expected_value,
    decile_value
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
    s.expected_value,
    s.decile_value
  );

-- include: older_predictions.sql

COMMIT TRANSACTION;
