-- One row per user who converted and as-of date; all others of the cohort have label 0.
-- Parameters: @as_ofs ARRAY<DATE>; @lookback_days and @horizon_days INT64; @label_event
--   and @user_column STRING; @first_suffix and @last_label_suffix STRING, the shards that
--   can hold events of the lookbacks and the horizons.
-- Source: view ga_events, events in [as_of, as_of + horizon), midnight UTC; a transaction
-- that happened before, as transactions.sql says, is no conversion again.
WITH
-- include: label_transactions.sql
SELECT DISTINCT as_of, user_id
FROM transactions
