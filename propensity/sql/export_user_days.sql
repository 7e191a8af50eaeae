-- Part of a query: one row per day of the GA4 export, user and UTC day, with its sums.
-- Parameters: @user_column STRING, user_pseudo_id or user_id; @first_suffix and
--   @last_suffix STRING, the days of the export (a constant prunes the others).
-- Source: view ga_events.
-- Of each table of the export by itself, so that one that Analytics writes anew is summed
-- up without the others. What days cannot be added up to is kept by value: sessions and
-- charges, which count once in a window.
WITH
  -- An event that a table has twice is equal in every field and falls out here. An amount beyond a
  -- trillion is a mistake of the shop's page, and sums must stay within NUMERIC. Amounts
  -- add up in US dollars, which the export gives beside the currency of the event; where
  -- it gives none, as for a shop that sends no currency, they are taken as they are.
  events AS (
    SELECT DISTINCT
      table_suffix,
      IF(@user_column = 'user_id', user_id, user_pseudo_id) AS user_id,
      EXTRACT(DATE FROM event_time) AS day,
      event_timestamp,
      event_name,
      -- Sessions are numbered by browser, which is the user or one of several.
      IF(
        @user_column = 'user_id',
        CONCAT(IFNULL(user_pseudo_id, user_id), '.', CAST(ga_session_id AS STRING)),
        CAST(ga_session_id AS STRING)
      ) AS session_key,
      IF(ga_session_number BETWEEN 1 AND 1000000, ga_session_number, NULL)
        AS session_number,
      user_first_touch_timestamp,
      IF(engagement_ms BETWEEN 0 AND 86400000, engagement_ms, NULL) AS engagement_ms,
      CASE event_name
        WHEN 'refund' THEN COALESCE(refund_value, purchase_revenue, event_value)
        WHEN 'purchase' THEN COALESCE(purchase_revenue, event_value)
      END AS charged,
      CASE event_name
        WHEN 'refund'
          THEN COALESCE(refund_value_in_usd, purchase_revenue_in_usd, event_value_in_usd)
        WHEN 'purchase' THEN COALESCE(purchase_revenue_in_usd, event_value_in_usd)
      END AS charged_in_usd,
      -- Shops that send no transaction id still have their purchases told apart by time.
      IFNULL(transaction_id, CAST(event_timestamp AS STRING)) AS transaction_id,
      n_items,
      n_distinct_items,
      source,
      medium,
      device_category,
      operating_system,
      country,
      params_digest
    FROM
      ga_events
    WHERE
      table_suffix BETWEEN @first_suffix AND @last_suffix
      AND IF(@user_column = 'user_id', user_id, user_pseudo_id) IS NOT NULL
      -- Without a time it is of no day.
      AND event_time IS NOT NULL
  ),
  amounts AS (
    SELECT
      *,
      IF(event_name = 'refund', ABS(charged), charged) AS same_charge,
      CASE
        WHEN ABS(charged) > NUMERIC '1e12' OR ABS(charged_in_usd) > NUMERIC '1e12'
          THEN NULL
        WHEN event_name = 'refund' THEN ABS(COALESCE(charged_in_usd, charged))
        ELSE COALESCE(charged_in_usd, charged)
      END AS amount
    FROM
      events
    WHERE
      event_name IN ('purchase', 'refund')
  ),
  charges AS (
    SELECT
      table_suffix,
      user_id,
      day,
      event_name,
      transaction_id,
      same_charge,
      n_items,
      n_distinct_items,
      ARRAY_AGG(amount ORDER BY event_timestamp, amount LIMIT 1)[OFFSET(0)] AS amount,
      MIN(event_timestamp) AS first_event
    FROM
      amounts
    GROUP BY
      table_suffix,
      user_id,
      day,
      event_name,
      transaction_id,
      same_charge,
      n_items,
      n_distinct_items
  ),
  charged_days AS (
    SELECT
      table_suffix,
      user_id,
      day,
      ARRAY_AGG(
        STRUCT(
          event_name AS event_name,
          transaction_id AS transaction_id,
          same_charge AS same_charge,
          n_items AS n_items,
          n_distinct_items AS n_distinct_items,
          amount AS amount,
          first_event AS first_event
        )
      ) AS charges
    FROM
      charges
    GROUP BY
      table_suffix,
      user_id,
      day
  ),
  event_days AS (
    SELECT
      table_suffix,
      user_id,
      day,
      MAX(event_timestamp) AS last_event,
      MIN(event_timestamp) AS first_event,
      MIN(user_first_touch_timestamp) AS first_touch,
      COUNT(*) AS n_events,
      MAX(session_number) AS session_number,
      SUM(engagement_ms) AS engagement_ms,
      COUNTIF(event_name = 'page_view') AS n_page_views,
      COUNTIF(event_name = 'view_item') AS n_view_items,
      COUNTIF(event_name = 'add_to_cart') AS n_add_to_carts,
      COUNTIF(event_name = 'begin_checkout') AS n_begin_checkouts,
      ARRAY_AGG(DISTINCT session_key IGNORE NULLS) AS sessions,
      -- Of events at the same microsecond the same one, whenever it is summed up.
      ARRAY_AGG(
        STRUCT(
          source AS source,
          medium AS medium,
          device_category AS device_category,
          operating_system AS operating_system,
          country AS country
        )
        ORDER BY
          event_timestamp DESC,
          source DESC,
          medium DESC,
          device_category DESC,
          operating_system DESC,
          country DESC
        LIMIT 1
      )[OFFSET(0)] AS visit
    FROM
      events
    GROUP BY
      table_suffix,
      user_id,
      day
  )
SELECT
  e.table_suffix,
  e.user_id,
  e.day,
  e.last_event,
  e.first_event,
  e.first_touch,
  e.n_events,
  e.session_number,
  e.engagement_ms,
  e.n_page_views,
  e.n_view_items,
  e.n_add_to_carts,
  e.n_begin_checkouts,
  e.sessions,
  e.visit,
  c.charges
FROM
  event_days AS e
LEFT JOIN
  charged_days AS c
  ON c.table_suffix = e.table_suffix AND c.user_id = e.user_id AND c.day = e.day
