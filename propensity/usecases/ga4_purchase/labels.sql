-- One row per user who converted and as-of date; all others of the cohort have label 0.
-- Parameters: @as_ofs ARRAY<DATE>; @horizon_days INT64; @label_event STRING;
--   @user_column STRING; @first_label_suffix and @last_label_suffix STRING, the shards
--   that can hold events of the horizons.
-- Source: view ga_events, events in [as_of, as_of + horizon), midnight UTC.
SELECT DISTINCT
  as_of,
  IF(@user_column = 'user_id', e.user_id, e.user_pseudo_id) AS user_id
FROM
  UNNEST(@as_ofs) AS as_of
INNER JOIN
  ga_events AS e
  ON
    e.event_time >= TIMESTAMP(as_of)
    AND e.event_time < TIMESTAMP(DATE_ADD(as_of, INTERVAL @horizon_days DAY))
    -- The tables of the date's own horizon, as if it were the only one.
    AND e.table_suffix BETWEEN FORMAT_DATE('%Y%m%d', DATE_SUB(as_of, INTERVAL 1 DAY))
    AND FORMAT_DATE('%Y%m%d', DATE_ADD(as_of, INTERVAL @horizon_days DAY))
WHERE
  e.table_suffix BETWEEN @first_label_suffix AND @last_label_suffix
  AND e.event_name = @label_event
  AND IF(@user_column = 'user_id', e.user_id, e.user_pseudo_id) IS NOT NULL
