-- One row per user and as-of date: every user with an event in the lookback (presence is
-- active), and every other one with a purchase in the @bought_days before the date (away).
-- Parameters: @as_ofs ARRAY<DATE>, each read at its midnight UTC; @lookback_days and
--   @bought_days INT64; @user_column STRING, user_pseudo_id, user_id or person; @first_export_day and
--   @last_export_day DATE, the days of the export that can hold events of the windows (a
--   constant prunes them); @first_repeat_export_day DATE, the first day of the lookback
--   before these.
-- Source: the digest of the export, ga_user_days, ga_conversions and ga_refusals.
-- Many as-of dates read the digest once, and give each the rows that it would have alone.
-- Windows begin and end at midnight UTC, so they are unions of UTC days, and an as-of
-- date adds up its days. It reads the tables of its own window alone, as if it were the
-- only date: an event that lies in the table of a later day was not there on it.
WITH
  browser_days AS (
    SELECT
      *,
-- include: event_user.sql
      AS visitor,
      -- Sessions are numbered by browser, which is the user or one of several.
      ARRAY(
        SELECT CONCAT(IFNULL(user_pseudo_id, user_id), '.', CAST(id AS STRING))
        FROM UNNEST(session_ids) AS id
      ) AS sessions
    FROM ga_user_days
    WHERE export_day BETWEEN @first_export_day AND @last_export_day
  ),
  -- A user may have several browsers, and a browser several user ids.
  user_days AS (
    SELECT
      export_day,
      visitor,
      day,
      MAX(last_event) AS last_event,
      MIN(first_event) AS first_event,
      MIN(first_touch) AS first_touch,
      SUM(n_events) AS n_events,
      MAX(session_number) AS session_number,
      SUM(engagement_ms) AS engagement_ms,
      SUM(n_page_views) AS n_page_views,
      SUM(n_view_items) AS n_view_items,
      SUM(n_add_to_carts) AS n_add_to_carts,
      SUM(n_begin_checkouts) AS n_begin_checkouts,
      ARRAY_CONCAT_AGG(sessions) AS sessions,
      -- The newest, and of events at the same microsecond always the same one.
      ARRAY_AGG(
        STRUCT(
          last_event AS last_event,
          IFNULL(source, '') AS source,
          IFNULL(medium, '') AS medium,
          IFNULL(device_category, '') AS device_category,
          IFNULL(operating_system, '') AS operating_system,
          IFNULL(country, '') AS country
        )
        ORDER BY
          last_event DESC,
          IFNULL(source, '') DESC,
          IFNULL(medium, '') DESC,
          IFNULL(device_category, '') DESC,
          IFNULL(operating_system, '') DESC,
          IFNULL(country, '') DESC
        LIMIT 1
      )[OFFSET(0)] AS visit
    FROM browser_days
    WHERE
      visitor IS NOT NULL
      AND
-- include: drawn_users.sql
    GROUP BY export_day, visitor, day
  ),
  snapshots AS (
    SELECT
      as_of,
      DATE_SUB(as_of, INTERVAL @lookback_days DAY) AS first_day,
      DATE_SUB(as_of, INTERVAL @lookback_days + 1 DAY) AS first_export_day,
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
    SELECT * FROM ga_conversions
    WHERE
      export_day BETWEEN @first_repeat_export_day AND @last_export_day
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
-- include: purchase_history.sql
  ,
-- include: item_history.sql
  ,
-- include: refusals.sql
  ,
  -- A UTC day may lie in the tables of two local days.
  user_totals AS (
    SELECT
      s.as_of,
      ANY_VALUE(s.as_of_us) AS as_of_us,
      COALESCE(p.person, d.visitor) AS owner,
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
      ARRAY_AGG(
        STRUCT(
          d.visit AS visit,
          d.n_page_views AS page_views,
          d.n_view_items AS view_items,
          d.n_add_to_carts AS add_to_carts,
          d.n_begin_checkouts AS begin_checkouts
        )
        ORDER BY
          d.visit.last_event DESC,
          d.visit.source DESC,
          d.visit.medium DESC,
          d.visit.device_category DESC,
          d.visit.operating_system DESC,
          d.visit.country DESC
        LIMIT 1
      )[OFFSET(0)] AS last_day
    FROM snapshots AS s
    INNER JOIN user_days AS d
      ON
        d.day >= s.first_day
        AND d.day < s.as_of
        AND d.export_day BETWEEN s.first_export_day AND s.as_of
    LEFT JOIN persons AS p
      ON p.snapshot = s.as_of AND p.browser = d.visitor
    GROUP BY s.as_of, owner
  ),
-- include: customers.sql
  ,
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
    FULL OUTER JOIN (
      SELECT * EXCEPT (visitor)
      FROM (SELECT *, owner AS visitor FROM customers)
      WHERE
-- include: drawn_users.sql
    ) USING (as_of, owner)
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
-- Of somebody away the last purchase is the last that is known; in the lookback there was
-- nothing, which is a fact: counts are 0.
SELECT
  u.as_of,
  u.user_id,
  u.presence,
  COALESCE((u.as_of_us - u.last_event) / 86400e6, h.last_days_ago) AS recency_days,
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
  IFNULL(h.purchase_days / (h.first_days_ago + @lookback_days / 2), 0)
    AS history_purchase_rate,
  LEAST(h.first_days_ago, 1.5 * @lookback_days) AS history_days_since_first,
  h.mean_gap_days AS history_mean_gap_days,
  h.last_days_ago / h.mean_gap_days AS history_recency_in_gaps,
  CAST(h.revenue AS FLOAT64) / h.purchase_days AS history_revenue_per_day,
  CAST(IFNULL(h.fading_20d, 0) AS FLOAT64) AS purchase_days_fading_20d,
  CAST(IFNULL(h.fading_60d, 0) AS FLOAT64) AS purchase_days_fading_60d,
  CAST(IFNULL(h.fading_180d, 0) AS FLOAT64) AS purchase_days_fading_180d,
  i.popularity AS last_items_popularity,
  i.repeated AS last_items_repeated,
  IFNULL(u.last_day.page_views, 0) AS last_day_page_views,
  IFNULL(u.last_day.view_items, 0) AS last_day_view_items,
  IFNULL(u.last_day.add_to_carts, 0) AS last_day_add_to_carts,
  IFNULL(u.last_day.begin_checkouts, 0) AS last_day_begin_checkouts,
  NULLIF(u.last_day.visit.source, '') AS source,
  NULLIF(u.last_day.visit.medium, '') AS medium,
  NULLIF(u.last_day.visit.device_category, '') AS device_category,
  NULLIF(u.last_day.visit.operating_system, '') AS operating_system,
  NULLIF(u.last_day.visit.country, '') AS country
FROM users AS u
LEFT JOIN user_transactions AS t
  ON t.as_of = u.as_of AND t.user_id = u.user_id
LEFT JOIN purchase_history AS h
  ON h.as_of = u.as_of AND h.customer = u.user_id
LEFT JOIN item_history AS i
  ON i.as_of = u.as_of AND i.customer = u.user_id
LEFT JOIN refusals AS r
  ON r.as_of = u.as_of AND r.customer = u.user_id
WHERE
-- include: not_refused.sql
