-- One row per user who converted and as-of date; all others of the cohort have label 0.
-- Parameters: @as_ofs ARRAY<DATE>; @lookback_days and @horizon_days INT64; @label_event
--   and @user_column STRING; @first_repeat_export_day and @last_label_export_day DATE, the
--   days of the export that can hold events of two lookbacks and the horizons; those of
--   persons.sql.
-- Source: the digest of the export, events in [as_of, as_of + horizon), midnight UTC; a
-- transaction that happened before, as transactions.sql says, is no conversion again.
WITH
-- include: label_transactions.sql
SELECT DISTINCT as_of, user_id
FROM transactions
