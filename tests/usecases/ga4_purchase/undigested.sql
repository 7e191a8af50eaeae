-- Part of a query: the common tables of the digest, with a row for each event. A statement
-- that they precede reads the export itself, as if there were no digest.
-- Source: view ga_events, and of a No ga_words, the same with these. An event that the
-- export has twice is one.
  words AS (
    SELECT
      PARSE_DATE('%Y%m%d', table_suffix) AS export_day,
      user_pseudo_id,
      user_id,
      EXTRACT(DATE FROM event_time) AS day,
      event_timestamp,
      has_consent
    FROM ga_words
  ),
  ga_refusals AS (
    SELECT DISTINCT export_day, user_pseudo_id, user_id, day
    FROM words AS w
    WHERE
      NOT has_consent
      AND day IS NOT NULL
      AND COALESCE(user_pseudo_id, user_id) IS NOT NULL
      AND NOT EXISTS (
        SELECT 1 FROM words AS later
        WHERE
          later.has_consent
          AND later.export_day = w.export_day
          AND later.day = w.day
          AND later.user_pseudo_id IS NOT DISTINCT FROM w.user_pseudo_id
          AND later.user_id IS NOT DISTINCT FROM w.user_id
          AND later.event_timestamp > w.event_timestamp
      )
  ),
  ga_user_days AS (
    SELECT DISTINCT
      PARSE_DATE('%Y%m%d', table_suffix) AS export_day,
      user_pseudo_id,
      user_id,
      EXTRACT(DATE FROM event_time) AS day,
      event_timestamp AS first_event,
      event_timestamp AS last_event,
      user_first_touch_timestamp AS first_touch,
      1 AS n_events,
      IF(ga_session_number BETWEEN 1 AND 1000000, ga_session_number, NULL)
        AS session_number,
      IF(engagement_ms BETWEEN 0 AND 86400000, engagement_ms, NULL) AS engagement_ms,
      IF(event_name = 'page_view', 1, 0) AS n_page_views,
      IF(event_name = 'view_item', 1, 0) AS n_view_items,
      IF(event_name = 'add_to_cart', 1, 0) AS n_add_to_carts,
      IF(event_name = 'begin_checkout', 1, 0) AS n_begin_checkouts,
      IF(ga_session_id IS NULL, [], [ga_session_id]) AS session_ids,
      source,
      medium,
      device_category,
      operating_system,
      country,
      event_name,
      event_digest
    FROM ga_events
  ),
  ga_conversions AS (
    SELECT
      PARSE_DATE('%Y%m%d', table_suffix) AS export_day,
      *
    FROM ga_events
    WHERE event_name IN ('purchase', 'refund')
  ),
