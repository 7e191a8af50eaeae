-- One row per user with label 1 and as-of date; all others of the cohort have label 0.
-- Parameters: @as_ofs ARRAY<DATE>; @lookback_days and @horizon_days INT64; @user_column
--   and @converting_event STRING; @first_suffix and @last_label_suffix STRING, the daily
--   tables that can hold events of the lookbacks and the horizons.
-- Source: view ga_events, events in [as_of, as_of + @horizon_days), midnight UTC. An event
-- with the transaction id of an earlier one is none, as transactions.sql says.
WITH
  windows AS (
    SELECT
      as_of,
      @converting_event AS event_name,
      as_of AS since,
      DATE_ADD(as_of, INTERVAL @horizon_days DAY) AS until
    FROM UNNEST(@as_ofs) AS as_of
  ),
  candidates AS (
    SELECT *
    FROM ga_events
    WHERE
      table_suffix BETWEEN @first_suffix AND @last_label_suffix
      AND event_name = @converting_event
  ),
-- include: transactions.sql
SELECT DISTINCT
  as_of,
  user_id
FROM transactions
