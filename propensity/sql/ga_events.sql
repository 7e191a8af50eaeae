-- View ga_events: one row per event of the daily GA4 export, in the types that the
-- use cases read. The only statement that names the sharded tables.
-- Source: events_YYYYMMDD of the property's export. The digits-only bounds leave out
-- events_intraday_* and events_fresh_*, whose rows the daily tables replace.
-- Readers bound table_suffix by constants, so that BigQuery prunes the days unread.
-- Numbers arrive in any of four fields of a parameter, and as text in some.
SELECT
  _TABLE_SUFFIX AS table_suffix,
  event_timestamp,
  TIMESTAMP_MICROS(event_timestamp) AS event_time,
  event_name,
  NULLIF(user_pseudo_id, '') AS user_pseudo_id,
  NULLIF(user_id, '') AS user_id,
  user_first_touch_timestamp,
  (
    SELECT
      MAX(
        COALESCE(
          p.value.int_value,
          SAFE_CAST(p.value.double_value AS INT64),
          SAFE_CAST(p.value.float_value AS INT64),
          SAFE_CAST(p.value.string_value AS INT64)
        )
      )
    FROM
      UNNEST(event_params) AS p
    WHERE
      p.key = 'ga_session_id'
  ) AS ga_session_id,
  (
    SELECT
      MAX(
        COALESCE(
          p.value.int_value,
          SAFE_CAST(p.value.double_value AS INT64),
          SAFE_CAST(p.value.float_value AS INT64),
          SAFE_CAST(p.value.string_value AS INT64)
        )
      )
    FROM
      UNNEST(event_params) AS p
    WHERE
      p.key = 'engagement_time_msec'
  ) AS engagement_ms,
  (
    SELECT
      MAX(
        COALESCE(
          SAFE_CAST(p.value.int_value AS NUMERIC),
          SAFE_CAST(p.value.double_value AS NUMERIC),
          SAFE_CAST(p.value.float_value AS NUMERIC),
          SAFE_CAST(p.value.string_value AS NUMERIC)
        )
      )
    FROM
      UNNEST(event_params) AS p
    WHERE
      p.key = 'value'
  ) AS event_value,
  SAFE_CAST(ecommerce.purchase_revenue AS NUMERIC) AS purchase_revenue,
  SAFE_CAST(ecommerce.refund_value AS NUMERIC) AS refund_value,
  ecommerce.transaction_id AS transaction_id,
  (SELECT SUM(i.quantity) FROM UNNEST(items) AS i) AS n_items,
  (SELECT COUNT(DISTINCT i.item_id) FROM UNNEST(items) AS i) AS n_distinct_items,
  traffic_source.source AS source,
  traffic_source.medium AS medium,
  device.category AS device_category,
  device.operating_system AS operating_system,
  geo.country AS country,
  TO_HEX(MD5(TO_JSON_STRING(event_params))) AS params_digest
FROM
  `events_*`
WHERE
  _TABLE_SUFFIX BETWEEN '00000000' AND '99999999'
