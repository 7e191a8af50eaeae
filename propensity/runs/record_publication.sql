-- Record a publication: one row for each use case and as-of date, replaced where the
-- date is published again.
-- Parameters: @use_case STRING; @as_of DATE; @model_version INT64; @run_id STRING;
--   @scored_at TIMESTAMP; @reads_export BOOL and @data_until DATE, up to when the export
--   was read, if it was; @users INT64; @mean_probability FLOAT64; @is_shifted BOOL and
--   @log_odds_shift FLOAT64, the season's shift, if there is one; @has_value BOOL and
--   @value_promised NUMERIC, the sum that is promised, if there are amounts;
--   @bytes_billed INT64; @seconds FLOAT64.
-- Writes: ma_publications.
MERGE
  ma_publications AS t
USING
  (
    SELECT
      @use_case AS use_case,
      @as_of AS as_of,
      @model_version AS model_version,
      @run_id AS run_id,
      @scored_at AS scored_at,
      IF(@reads_export, @data_until, NULL) AS data_until,
      @users AS users,
      @mean_probability AS mean_probability,
      IF(@is_shifted, @log_odds_shift, NULL) AS log_odds_shift,
      IF(@has_value, @value_promised, NULL) AS value_promised,
      @bytes_billed AS bytes_billed,
      @seconds AS seconds
  ) AS s
ON
  t.as_of = @as_of AND t.use_case = s.use_case
WHEN MATCHED THEN
  UPDATE SET
    model_version = s.model_version,
    run_id = s.run_id,
    scored_at = s.scored_at,
    data_until = s.data_until,
    users = s.users,
    mean_probability = s.mean_probability,
    log_odds_shift = s.log_odds_shift,
    value_promised = s.value_promised,
    bytes_billed = s.bytes_billed,
    seconds = s.seconds
WHEN NOT MATCHED THEN
  INSERT (
    use_case,
    as_of,
    model_version,
    run_id,
    scored_at,
    data_until,
    users,
    mean_probability,
    log_odds_shift,
    value_promised,
    bytes_billed,
    seconds
  )
  VALUES (
    s.use_case,
    s.as_of,
    s.model_version,
    s.run_id,
    s.scored_at,
    s.data_until,
    s.users,
    s.mean_probability,
    s.log_odds_shift,
    s.value_promised,
    s.bytes_billed,
    s.seconds
  )
