-- One row per user and as-of date: every user with an event in the lookback, and every
-- other one with a purchase in the history.
-- Source: view ga_events, as of a statement that knows no digest.
WITH
  events AS (
    SELECT DISTINCT
      table_suffix,
-- include: event_user.sql
      AS user_id,
      EXTRACT(DATE FROM event_time) AS day,
      event_timestamp,
      event_name,
      -- Sessions are numbered by browser, which is the user or one of several.
      IF(
        @user_column IN ('user_id', 'person'),
        CONCAT(IFNULL(user_pseudo_id, user_id), '.', CAST(ga_session_id AS STRING)),
        CAST(ga_session_id AS STRING)
      ) AS session_key,
      IF(ga_session_number BETWEEN 1 AND 1000000, ga_session_number, NULL)
        AS session_number,
      user_first_touch_timestamp,
      IF(engagement_ms BETWEEN 0 AND 86400000, engagement_ms, NULL) AS engagement_ms,
      source,
      medium,
      device_category,
      operating_system,
      country,
      event_digest
    FROM ga_events
    WHERE
      table_suffix BETWEEN @first_suffix AND @last_suffix
      AND
-- include: event_user.sql
      IS NOT NULL
      -- Without a time it is of no day.
      AND event_time IS NOT NULL
  ),
  user_days AS (
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
      -- The newest has the greatest text, and of events at the same microsecond always
      -- the same one.
      MAX(
        CONCAT(
          LPAD(CAST(event_timestamp AS STRING), 20, '0'),
          '\t', IFNULL(source, ''),
          '\t', IFNULL(medium, ''),
          '\t', IFNULL(device_category, ''),
          '\t', IFNULL(operating_system, ''),
          '\t', IFNULL(country, '')
        )
      ) AS visit
    FROM events
    GROUP BY table_suffix, user_id, day
  ),
  snapshots AS (
    SELECT
      as_of,
      DATE_SUB(as_of, INTERVAL @lookback_days DAY) AS first_day,
      FORMAT_DATE('%Y%m%d', DATE_SUB(as_of, INTERVAL @lookback_days + 1 DAY))
        AS oldest_suffix,
      FORMAT_DATE('%Y%m%d', as_of) AS newest_suffix,
      UNIX_MICROS(TIMESTAMP(as_of)) AS as_of_us
    FROM UNNEST(@as_ofs) AS as_of
  ),
  windows AS (
    SELECT
      as_of,
      event_name,
      DATE_SUB(
        as_of, INTERVAL IF(event_name = 'purchase', 2, 1) * @lookback_days DAY
      ) AS since,
      as_of AS until
    FROM UNNEST(@as_ofs) AS as_of
    CROSS JOIN UNNEST(['purchase', 'refund']) AS event_name
  ),
  candidates AS (
    SELECT * FROM ga_events
    WHERE
      table_suffix BETWEEN @first_suffix AND @last_suffix
      AND event_name IN ('purchase', 'refund')
  ),
-- include: transactions.sql
  ,
  transaction_days AS (
    SELECT
      as_of,
      user_id,
      day,
      IF(COUNTIF(event_name = 'purchase') > 0, day, NULL) AS purchase_day,
      MAX(IF(event_name = 'purchase' AND is_recent, event_timestamp, NULL))
        AS last_purchase,
      COUNTIF(event_name = 'purchase' AND is_recent) AS n_purchases,
      COUNTIF(event_name = 'refund') AS n_refunds,
      -- Null where no amount is known: a day of refunds alone would make it 0.
      SUM(IF(event_name = 'purchase' AND is_recent, amount, NULL)) AS revenue,
      SUM(IF(event_name = 'refund', amount, 0)) AS refund_value,
      SUM(IF(event_name = 'purchase' AND is_recent, n_items, 0)) AS n_items,
      SUM(IF(event_name = 'purchase' AND is_recent, n_distinct_items, 0))
        AS n_distinct_items
    FROM transactions
    GROUP BY as_of, user_id, day
  ),
  user_transactions AS (
    SELECT
      as_of,
      user_id,
      MAX(last_purchase) AS last_purchase,
      COUNT(purchase_day) AS purchase_days_two_lookbacks,
      DATE_DIFF(MAX(purchase_day), MIN(purchase_day), DAY)
        / NULLIF(COUNT(purchase_day) - 1, 0) AS mean_purchase_gap_days,
      DATE_DIFF(as_of, MAX(purchase_day), DAY) AS days_without_purchase,
      COUNTIF(n_purchases > 0) AS purchase_days,
      SUM(n_purchases) AS purchases,
      SUM(IF(day >= DATE_SUB(as_of, INTERVAL 7 DAY), n_purchases, 0)) AS purchases_7d,
      SUM(IF(day >= DATE_SUB(as_of, INTERVAL 28 DAY), n_purchases, 0)) AS purchases_28d,
      SUM(n_refunds) AS refunds,
      SUM(revenue) AS revenue,
      SUM(IF(day >= DATE_SUB(as_of, INTERVAL 7 DAY), revenue, NULL)) AS revenue_7d,
      MAX(revenue) AS largest_day_revenue,
      SUM(refund_value) AS refund_value,
      SUM(n_items) AS items,
      SUM(n_distinct_items) AS distinct_items
    FROM transaction_days
    GROUP BY as_of, user_id
  ),
  -- A UTC day may lie in the tables of two local days.
  user_totals AS (
    SELECT
      s.as_of,
      ANY_VALUE(s.as_of_us) AS as_of_us,
      COALESCE(p.person, d.user_id) AS owner,
      MAX(d.last_event) AS last_event,
      MIN(d.first_event) AS first_event,
      MIN(d.first_touch) AS first_touch,
      COUNT(DISTINCT d.day) AS active_days,
      COUNT(DISTINCT IF(d.day >= DATE_SUB(s.as_of, INTERVAL 7 DAY), d.day, NULL))
        AS active_days_7d,
      ARRAY_CONCAT_AGG(d.sessions) AS sessions,
      ARRAY_CONCAT_AGG(
        IF(d.day >= DATE_SUB(s.as_of, INTERVAL 7 DAY), d.sessions, NULL)
      ) AS sessions_7d,
      SUM(d.n_events) AS events,
      SUM(IF(d.day >= DATE_SUB(s.as_of, INTERVAL 7 DAY), d.n_events, 0)) AS events_7d,
      MAX(d.session_number) AS sessions_ever,
      SUM(d.engagement_ms) AS engagement_ms,
      SUM(d.n_page_views) AS page_views,
      SUM(d.n_view_items) AS view_items,
      SUM(d.n_add_to_carts) AS add_to_carts,
      SUM(d.n_begin_checkouts) AS begin_checkouts,
      SUM(
        IF(
          d.day >= DATE_SUB(s.as_of, INTERVAL 7 DAY),
          d.n_view_items + d.n_add_to_carts + d.n_begin_checkouts,
          0
        )
      ) AS funnel_events_7d,
      SPLIT(MAX(d.visit), '\t') AS visit,
      MAX_BY(
        STRUCT(
          d.n_page_views AS page_views,
          d.n_view_items AS view_items,
          d.n_add_to_carts AS add_to_carts,
          d.n_begin_checkouts AS begin_checkouts
        ),
        d.visit
      ) AS last_day
    FROM snapshots AS s
    INNER JOIN user_days AS d
      ON
        d.day >= s.first_day
        AND d.day < s.as_of
        AND d.table_suffix BETWEEN s.oldest_suffix AND s.newest_suffix
    LEFT JOIN persons AS p
      ON p.snapshot = s.as_of AND p.browser = d.user_id
    GROUP BY s.as_of, owner
  ),
  history AS (
    SELECT
      as_of,
-- include: event_person.sql
      AS owner,
      IFNULL(CONCAT('id ', e.transaction_id), CONCAT('event ', e.event_digest))
        AS identity,
      -- Of one order the first page counts.
      DATE_DIFF(as_of, EXTRACT(DATE FROM MIN(e.event_time)), DAY) AS days_ago
    FROM UNNEST(@as_ofs) AS as_of
    INNER JOIN ga_events AS e
      ON
        e.event_name = 'purchase'
        AND e.event_time >= TIMESTAMP(DATE_SUB(as_of, INTERVAL @history_days DAY))
        AND e.event_time < TIMESTAMP(as_of)
        AND e.table_suffix BETWEEN FORMAT_DATE(
          '%Y%m%d', DATE_SUB(as_of, INTERVAL @history_days + 1 DAY)
        )
        AND FORMAT_DATE('%Y%m%d', as_of)
    LEFT JOIN persons
      ON snapshot = as_of AND browser = e.user_pseudo_id
    WHERE e.table_suffix BETWEEN '00000000' AND '99999999'
    GROUP BY as_of, owner, identity
  ),
  customers AS (
    SELECT
      as_of,
      owner,
      MAX(days_ago) AS first_days_ago,
      MIN(days_ago) AS last_days_ago
    FROM history
    WHERE owner IS NOT NULL
    GROUP BY as_of, owner
  ),
  users AS (
    SELECT
      * EXCEPT (owner, first_days_ago),
      owner AS user_id,
      IF(last_event IS NULL, 'away', 'active') AS presence,
      -- A first touch after the first event, or before 1970, is a broken clock.
      IF(
        last_event IS NULL,
        first_days_ago,
        (
          as_of_us
          - GREATEST(LEAST(IFNULL(first_touch, first_event), first_event), 0)
        ) / 86400e6
      ) AS days_known
    FROM user_totals
    FULL OUTER JOIN customers USING (as_of, owner)
  )
-- Days since the first visit end at one and a half lookbacks: beyond, they would grow
-- with the age of the property, and a model would take that drift for loyalty. GA4
-- numbers the sessions of a browser: the highest number counts those before the lookback
-- as well, without reading them, and its rate does not grow with the property.
-- The mean value of an order is the known revenue over all purchases, also those of an
-- unknown amount, as models have learned it; null if no amount is known.
-- How often users buy shows in two lookbacks only, so days with a purchase are counted
-- in both. The gap between two such days is null where there is one. The last day is what
-- a user did on the last day with an event: who left a cart yesterday is nearer to buying
-- than who left one a month ago.
SELECT
  u.as_of,
  u.user_id,
  u.presence,
  COALESCE((u.as_of_us - u.last_event) / 86400e6, u.last_days_ago) AS recency_days,
  (u.as_of_us - t.last_purchase) / 86400e6 AS purchase_recency_days,
  LEAST(u.days_known, 1.5 * @lookback_days) AS days_since_first_seen,
  IFNULL(u.active_days, 0) AS active_days,
  IFNULL(u.active_days_7d, 0) AS active_days_7d,
  (SELECT COUNT(DISTINCT key) FROM UNNEST(u.sessions) AS key) AS sessions,
  (SELECT COUNT(DISTINCT key) FROM UNNEST(u.sessions_7d) AS key) AS sessions_7d,
  u.sessions_ever,
  u.sessions_ever / GREATEST(u.days_known, @lookback_days) AS sessions_per_day_ever,
  IFNULL(u.events, 0) AS events,
  IFNULL(u.events_7d, 0) AS events_7d,
  SAFE_DIVIDE(u.events_7d * @lookback_days, u.events * 7) AS events_trend,
  IFNULL(u.engagement_ms, 0) / 1e3 AS engagement_s,
  IFNULL(u.page_views, 0) AS page_views,
  IFNULL(u.view_items, 0) AS view_items,
  IFNULL(u.add_to_carts, 0) AS add_to_carts,
  IFNULL(u.begin_checkouts, 0) AS begin_checkouts,
  IFNULL(u.funnel_events_7d, 0) AS funnel_events_7d,
  IFNULL(t.purchases, 0) AS purchases,
  IFNULL(t.purchases_7d, 0) AS purchases_7d,
  IFNULL(t.purchases_28d, 0) AS purchases_28d,
  IFNULL(t.purchase_days, 0) AS purchase_days,
  IFNULL(t.purchases, 0) / GREATEST(7e0, LEAST(u.days_known, @lookback_days))
    AS purchases_per_day_known,
  IFNULL(t.refunds, 0) AS refunds,
  CAST(IFNULL(t.revenue, 0) AS FLOAT64) AS revenue,
  CAST(IFNULL(t.revenue_7d, 0) AS FLOAT64) AS revenue_7d,
  CAST(IFNULL(t.largest_day_revenue, 0) AS FLOAT64) AS largest_day_revenue,
  CAST(IFNULL(t.refund_value, 0) AS FLOAT64) AS refund_value,
  SAFE_DIVIDE(CAST(t.revenue AS FLOAT64), t.purchases) AS mean_order_value,
  IFNULL(t.items, 0) AS items,
  IFNULL(t.distinct_items, 0) AS distinct_items,
  (u.last_event - u.first_event) / 86400e6 / NULLIF(u.active_days - 1, 0)
    AS mean_gap_days,
  IFNULL(t.purchase_days_two_lookbacks, 0) AS purchase_days_two_lookbacks,
  t.mean_purchase_gap_days,
  t.days_without_purchase / t.mean_purchase_gap_days AS purchase_recency_in_gaps,
  IFNULL(u.last_day.page_views, 0) AS last_day_page_views,
  IFNULL(u.last_day.view_items, 0) AS last_day_view_items,
  IFNULL(u.last_day.add_to_carts, 0) AS last_day_add_to_carts,
  IFNULL(u.last_day.begin_checkouts, 0) AS last_day_begin_checkouts,
  NULLIF(u.visit[OFFSET(1)], '') AS source,
  NULLIF(u.visit[OFFSET(2)], '') AS medium,
  NULLIF(u.visit[OFFSET(3)], '') AS device_category,
  NULLIF(u.visit[OFFSET(4)], '') AS operating_system,
  NULLIF(u.visit[OFFSET(5)], '') AS country
FROM users AS u
LEFT JOIN user_transactions AS t
  ON t.as_of = u.as_of AND t.user_id = u.user_id
