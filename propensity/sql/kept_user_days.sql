-- Part of a query: one row per day of the GA4 export, user and UTC day, as it is kept.
-- Parameters: @use_case STRING; @first_shard and @last_shard DATE, days of the export.
-- Source: export_user_days.
SELECT
  user_id,
  day,
  last_event,
  first_event,
  first_touch,
  n_events,
  session_number,
  engagement_ms,
  n_page_views,
  n_view_items,
  n_add_to_carts,
  n_begin_checkouts,
  sessions,
  visit,
  charges
FROM
  export_user_days
WHERE
  shard BETWEEN @first_shard AND @last_shard
  AND use_case = @use_case
  AND user_id IS NOT NULL
