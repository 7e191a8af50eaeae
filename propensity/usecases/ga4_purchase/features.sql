-- One row per user and as-of date: every user with an event in the lookback.
-- Parameters: @as_ofs ARRAY<DATE>, each read at its midnight UTC; @lookback_days INT64;
--   @user_column STRING, user_pseudo_id or user_id; @first_suffix and @last_suffix
--   STRING, the shards that can hold events of the windows (a constant prunes them).
-- Source: view ga_events.
-- Many as-of dates scan the export once, and give each the rows that it would have alone.
WITH
  user_days AS (
-- include: export_user_days.sql
  ),
-- include: features_of_days.sql
