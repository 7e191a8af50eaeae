-- View ga_events: one row per event of the GA4 export, in the types that the use cases
-- read. It and its part are the only statements that name the sharded tables.
-- Source: the part shards, which is ga_events_shards of one kind of tables; a property with
-- several has the union of such SELECTs, each with columns of its own: the tables of
-- today may have one that yesterday's lack.
-- Readers bound table_suffix, the day, by constants, so that BigQuery prunes the days
-- unread: each part compares an expression of its own suffix with constants.
-- Numbers arrive in any of four fields of a parameter, and as text in some; what is no
-- number, or out of its type's range, is null. Google's words for a value that it does
-- not know are null, too; <Other>, its pool of rare values, is a value. So is a time
-- beyond the years 1 to 9999, for example of rows written in nanoseconds: such an
-- event is in no window, and the others are read.
-- Ids that mean nothing, which pages and servers send where they have none, are null:
-- those of users, sessions, orders and items. An item without one is one of its own, as
-- in shops that send names alone: names are billed, and the list has each good once.
-- What the settings do not ask for is a Yes; with neither a Yes nor a No a user has said
-- nothing of consent, and has_consent is null. Whoever is put into an audience of
-- Analytics has an event for it in the export, which is ours and no visit.
-- The digest is of what tells an event from every other one. It leaves out lists, because
-- BigQuery bills each column that is read, and items and parameters are most of a row.
SELECT
  table_suffix,
  event_timestamp,
  IF(
    event_timestamp BETWEEN -62135596800000000 AND 253402300799999999,
    TIMESTAMP_MICROS(event_timestamp),
    NULL
  ) AS event_time,
  event_name,
  CASE
    WHEN 'No' IN (`analytics_storage`, `ads_storage`) THEN FALSE
    WHEN `analytics_storage` = 'Yes' AND `ads_storage` = 'Yes' THEN TRUE
  END AS has_consent,
  IF(
    LOWER(TRIM(user_pseudo_id)) IN (
      -- include: meaningless_ids.sql
    ),
    NULL,
    user_pseudo_id
  ) AS user_pseudo_id,
  IF(
    LOWER(TRIM(user_id)) IN (
      -- include: meaningless_ids.sql
    ),
    NULL,
    user_id
  ) AS user_id,
  user_first_touch_timestamp,
  NULLIF(
    (
      SELECT MAX(
        -- include: export_int64.sql
        )
      FROM UNNEST(event_params) AS p WHERE p.key = 'ga_session_id'
    ),
    0
  ) AS ga_session_id,
  (
    SELECT MAX(
        -- include: export_int64.sql
      )
    FROM UNNEST(event_params) AS p WHERE p.key = 'ga_session_number'
  ) AS ga_session_number,
  (
    SELECT MAX(
        -- include: export_int64.sql
      )
    FROM UNNEST(event_params) AS p WHERE p.key = 'engagement_time_msec'
  ) AS engagement_ms,
  (
    SELECT MAX(
        -- include: export_numeric.sql
      )
    FROM UNNEST(event_params) AS p WHERE p.key = 'value'
  ) AS event_value,
  SAFE_CAST(event_value_in_usd AS NUMERIC) AS event_value_in_usd,
  (
    SELECT MAX(UPPER(NULLIF(p.value.string_value, '')))
    FROM UNNEST(event_params) AS p WHERE p.key = 'currency'
  ) AS currency,
  SAFE_CAST(ecommerce.purchase_revenue AS NUMERIC) AS purchase_revenue,
  SAFE_CAST(ecommerce.purchase_revenue_in_usd AS NUMERIC) AS purchase_revenue_in_usd,
  SAFE_CAST(ecommerce.refund_value AS NUMERIC) AS refund_value,
  SAFE_CAST(ecommerce.refund_value_in_usd AS NUMERIC) AS refund_value_in_usd,
  IF(
    LOWER(TRIM(ecommerce.transaction_id)) IN (
      -- include: meaningless_ids.sql
    ),
    NULL,
    ecommerce.transaction_id
  ) AS ecommerce_transaction_id,
  COALESCE(
    IF(
      LOWER(TRIM(ecommerce.transaction_id)) IN (
        -- include: meaningless_ids.sql
      ),
      NULL,
      ecommerce.transaction_id
    ),
    (
      SELECT
        MAX(
          COALESCE(
            IF(
              LOWER(TRIM(p.value.string_value)) IN (
                -- include: meaningless_ids.sql
              ),
              NULL,
              p.value.string_value
            ),
            CAST(NULLIF(p.value.int_value, 0) AS STRING),
            CAST(SAFE_CAST(NULLIF(p.value.double_value, 0) AS NUMERIC) AS STRING),
            CAST(SAFE_CAST(NULLIF(p.value.float_value, 0) AS NUMERIC) AS STRING)
          )
        )
      FROM UNNEST(event_params) AS p WHERE p.key = 'transaction_id'
    )
  ) AS transaction_id,
  (
    SELECT
      SUM(IF(IFNULL(i.quantity, 1) BETWEEN 0 AND 1000000, IFNULL(i.quantity, 1), NULL))
    FROM UNNEST(items) AS i
  ) AS n_items,
  (
    SELECT
      COUNT(
        DISTINCT
        IF(
          LOWER(TRIM(i.item_id)) IN (
            -- include: meaningless_ids.sql
          ),
          NULL,
          i.item_id
        )
      )
    FROM UNNEST(items) AS i
  )
  + (
    SELECT COUNT(*) FROM UNNEST(items) AS i
    WHERE
      IFNULL(LOWER(TRIM(i.item_id)), '') IN (
        -- include: meaningless_ids.sql
      )
  ) AS n_distinct_items,
  ARRAY(
    SELECT DISTINCT i.item_id
    FROM UNNEST(items) AS i
    WHERE
      IFNULL(LOWER(TRIM(i.item_id)), '') NOT IN (
        -- include: meaningless_ids.sql
      )
    ORDER BY i.item_id
  ) AS item_ids,
  NULLIF(NULLIF(NULLIF(traffic_source.source, ''), '(not set)'), '(data deleted)')
    AS source,
  NULLIF(NULLIF(NULLIF(traffic_source.medium, ''), '(not set)'), '(data deleted)')
    AS medium,
  NULLIF(NULLIF(NULLIF(device.category, ''), '(not set)'), '(data deleted)')
    AS device_category,
  NULLIF(NULLIF(NULLIF(device.operating_system, ''), '(not set)'), '(data deleted)')
    AS operating_system,
  NULLIF(NULLIF(NULLIF(geo.country, ''), '(not set)'), '(data deleted)')
    AS country,
  `columns_of_use_cases`
  TO_HEX(
    MD5(
      TO_JSON_STRING(
        STRUCT(
          event_timestamp,
          event_name,
          user_pseudo_id,
          user_id,
          event_bundle_sequence_id,
          batch_page_id,
          batch_ordering_id,
          batch_event_index,
          event_value_in_usd,
          ecommerce.transaction_id,
          ecommerce.purchase_revenue,
          ecommerce.refund_value
        )
      )
    )
  ) AS event_digest
FROM `shards` AS e
WHERE event_name != 'propensity_audience'
