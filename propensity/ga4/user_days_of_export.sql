-- One row per table of the export, browser, user id and UTC day: a row of ga_user_days,
-- with the rows that it has of ga_conversions. Events of a No have rows of their own, of
-- which the digest keeps who and when. Nothing else reads the export for the digest, so
-- that BigQuery bills each byte once.
-- Parameters: @first_suffix and @last_suffix STRING, the tables that are read (constants
--   prune); @event_names ARRAY<STRING>, of the events that are conversions.
-- Source: view ga_events, or the part of this name: the text of one with refusals. An
-- event that the export has twice is one; of conversions each row is kept that differs,
-- as transactions.sql tells them apart. Events of nobody known have a row each, without
-- ids, and events without a time rows without a day.
WITH
  events AS (
    SELECT
      PARSE_DATE('%Y%m%d', table_suffix) AS export_day,
      user_pseudo_id,
      user_id,
      EXTRACT(DATE FROM event_time) AS day,
      event_timestamp,
      event_name,
      has_consent,
      ga_session_id,
      IF(ga_session_number BETWEEN 1 AND 1000000, ga_session_number, NULL)
        AS session_number,
      user_first_touch_timestamp AS first_touch,
      IF(engagement_ms BETWEEN 0 AND 86400000, engagement_ms, NULL) AS on_screen_ms,
      source,
      medium,
      device_category,
      operating_system,
      country,
      event_digest,
      IF(
        event_name IN UNNEST(@event_names),
        STRUCT(
          event_name AS event_name,
          user_pseudo_id AS user_pseudo_id,
          user_id AS user_id,
          event_timestamp AS event_timestamp,
          event_time AS event_time,
          transaction_id AS transaction_id,
          event_value AS event_value,
          event_value_in_usd AS event_value_in_usd,
          purchase_revenue AS purchase_revenue,
          purchase_revenue_in_usd AS purchase_revenue_in_usd,
          refund_value AS refund_value,
          refund_value_in_usd AS refund_value_in_usd,
          n_items AS n_items,
          n_distinct_items AS n_distinct_items,
          item_ids AS item_ids,
          event_digest AS event_digest
        ),
        NULL
      ) AS conversion
    FROM `ga_events`
    WHERE
      table_suffix BETWEEN @first_suffix AND @last_suffix
      -- A No of nobody known says nothing.
      AND (
        has_consent
        OR NOT has_consent AND COALESCE(user_pseudo_id, user_id) IS NOT NULL
      )
  ),
  distinct_events AS (
    SELECT
      * EXCEPT (conversion),
      -- A row holds no more than 100 MB, and theirs would have all of a day.
      IF(COALESCE(user_pseudo_id, user_id) IS NULL, event_digest, NULL)
        AS event_of_nobody,
      -- The newest has the greatest text, and of events at the same microsecond always
      -- the same one.
      CONCAT(
        LPAD(CAST(event_timestamp AS STRING), 20, '0'),
        '\t', IFNULL(source, ''),
        '\t', IFNULL(medium, ''),
        '\t', IFNULL(device_category, ''),
        '\t', IFNULL(operating_system, ''),
        '\t', IFNULL(country, '')
      ) AS visit,
      COUNT(*) AS n_rows,
      ARRAY_AGG(conversion IGNORE NULLS) AS conversions
    FROM events
    GROUP BY
      export_day,
      user_pseudo_id,
      user_id,
      day,
      event_timestamp,
      event_name,
      has_consent,
      ga_session_id,
      session_number,
      first_touch,
      on_screen_ms,
      source,
      medium,
      device_category,
      operating_system,
      country,
      event_digest
  )
SELECT
  export_day,
  user_pseudo_id,
  user_id,
  day,
  has_consent,
  MIN(event_timestamp) AS first_event,
  MAX(event_timestamp) AS last_event,
  MIN(first_touch) AS first_touch,
  COUNT(*) AS n_events,
  MAX(session_number) AS session_number,
  SUM(on_screen_ms) AS engagement_ms,
  COUNTIF(event_name = 'page_view') AS n_page_views,
  COUNTIF(event_name = 'view_item') AS n_view_items,
  COUNTIF(event_name = 'add_to_cart') AS n_add_to_carts,
  COUNTIF(event_name = 'begin_checkout') AS n_begin_checkouts,
  ARRAY_AGG(DISTINCT ga_session_id IGNORE NULLS) AS session_ids,
  MAX_BY(
    STRUCT(
      source AS source,
      medium AS medium,
      device_category AS device_category,
      operating_system AS operating_system,
      country AS country
    ),
    visit
  ) AS last_visit,
  SUM(n_rows) AS n_rows,
  ARRAY_CONCAT_AGG(conversions) AS conversions
FROM distinct_events
GROUP BY export_day, user_pseudo_id, user_id, day, has_consent, event_of_nobody
