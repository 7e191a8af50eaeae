-- One row per user and as-of date, as features.sql gives it, from sums that are kept.
-- Parameters: @as_ofs ARRAY<DATE>; @lookback_days INT64; @use_case STRING; @first_shard
--   and @last_shard DATE, the days of the export that can hold events of the windows.
-- Source: export_user_days.
WITH
  user_days AS (
-- include: kept_user_days.sql
  ),
-- include: features_of_days.sql
