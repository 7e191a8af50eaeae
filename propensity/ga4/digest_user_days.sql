-- One row per table of the export, browser, user id and UTC day with a Yes: a row of
-- ga_user_days.
-- Parameters: @days ARRAY<DATE>, the days of the export to keep.
-- Source: user_days, the rows of user_days_of_export.sql.
SELECT
  export_day,
  user_pseudo_id,
  user_id,
  day,
  first_event,
  last_event,
  first_touch,
  n_events,
  session_number,
  engagement_ms,
  n_page_views,
  n_view_items,
  n_add_to_carts,
  n_begin_checkouts,
  session_ids,
  last_visit.source,
  last_visit.medium,
  last_visit.device_category,
  last_visit.operating_system,
  last_visit.country
FROM user_days
WHERE
  export_day IN UNNEST(@days)
  AND day IS NOT NULL
  AND has_consent
  AND COALESCE(user_pseudo_id, user_id) IS NOT NULL
