-- part: features
-- One row per user and as-of date.
-- Parameters: @as_ofs ARRAY<DATE>, each read at its midnight UTC; @lookback_days and
--   @history_days INT64; @user_column, @converting_event STRING; @first_export_day and
--   @last_export_day DATE, the days of the export that can hold events of the lookbacks
--   (constants prune the others); @first_repeat_export_day and @first_history_day DATE,
--   the first of the lookbacks before these, and of the history.
-- Source: the digest of the export, ga_user_days, ga_conversions and, of who has said No
-- to consent since, ga_refusals. The view ga_events
-- has every event with what usecase.toml names, param_NAME of [event_params] and
-- property_NAME of [user_properties], but BigQuery bills much more for it.
-- A feature of a date reads events in [as_of - @lookback_days, as_of), or purchases of the
-- history_days before the date (purchase_history.sql), and no other, but to tell that an
-- event with a transaction id is the repetition of an earlier one.
--
-- Columns of ga_user_days:
${columns}
WITH
  -- Windows begin and end at midnight UTC, so they are unions of days, and a date adds up
  -- its days. A user may have several browsers, and a day may lie in two tables.
  user_days AS (
    SELECT
-- include: event_user.sql
      AS visitor,
      day,
      MAX(last_event) AS last_event,
      SUM(n_events) AS events,
      ARRAY_CONCAT_AGG(session_ids) AS session_ids,
      SUM(engagement_ms) AS engagement_ms,
      SUM(n_view_items) AS view_items,
      SUM(n_add_to_carts) AS add_to_carts,
      ARRAY_AGG(
        STRUCT(device_category AS device_category, country AS country)
        ORDER BY last_event DESC, export_day DESC, user_pseudo_id, user_id
        LIMIT 1
      )[OFFSET(0)] AS visit
    FROM ga_user_days
    WHERE
      export_day BETWEEN @first_export_day AND @last_export_day
      AND
-- include: event_user.sql
      IS NOT NULL
    GROUP BY visitor, day
  ),
  snapshots AS (
    SELECT as_of
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
    CROSS JOIN
      (
        SELECT DISTINCT event_name
        FROM UNNEST([@converting_event, 'purchase']) AS event_name
      )
  ),
  candidates AS (
    SELECT *
    FROM ga_conversions
    WHERE
      export_day BETWEEN @first_repeat_export_day AND @last_export_day
      AND event_name IN (@converting_event, 'purchase')
  ),
-- include: transactions.sql
  ,
  totals AS (
    SELECT
      as_of,
      user_id,
      COUNTIF(event_name = @converting_event AND is_recent) AS conversions,
      SUM(IF(event_name = 'purchase' AND is_recent, amount, NULL)) AS revenue,
      COUNT(DISTINCT IF(event_name = 'purchase', day, NULL)) AS purchase_days
    FROM transactions
    GROUP BY as_of, user_id
  ),
-- include: purchase_history.sql
  ,
-- include: refusals.sql
  ,
  visits AS (
    SELECT
      s.as_of,
      -- A person's browsers are one user: persons.sql has whose they are on the date.
      COALESCE(p.person, d.visitor) AS user_id,
      d.*
    FROM snapshots AS s
    INNER JOIN user_days AS d
      ON d.day >= DATE_SUB(s.as_of, INTERVAL @lookback_days DAY) AND d.day < s.as_of
    LEFT JOIN persons AS p
      ON p.snapshot = s.as_of AND p.browser = d.visitor
  ),
  users AS (
${users}
  )
SELECT
  u.as_of,
  u.user_id,
  IF(COUNT(d.day) > 0, 'active', 'away') AS presence,
  -- Of somebody away, since the last purchase.
  COALESCE(
    (UNIX_MICROS(TIMESTAMP(u.as_of)) - MAX(d.last_event)) / 86400e6,
    MAX(h.last_days_ago)
  ) AS recency_days,
  COUNT(d.day) AS active_days,
  IFNULL(SUM(d.events), 0) AS events,
  SUM(IF(d.day >= DATE_SUB(u.as_of, INTERVAL 7 DAY), d.events, 0)) AS events_7d,
  SUM((SELECT COUNT(DISTINCT id) FROM UNNEST(d.session_ids) AS id)) AS sessions,
  IFNULL(SUM(d.engagement_ms), 0) / 1e3 AS engagement_s,
  IFNULL(SUM(d.view_items), 0) AS view_items,
  IFNULL(SUM(d.add_to_carts), 0) AS add_to_carts,
  IFNULL(MAX(t.conversions), 0) AS conversions,
  -- Money is NUMERIC, exact in sums; a model reads floats.
  CAST(IFNULL(MAX(t.revenue), 0) AS FLOAT64) AS revenue,
  IFNULL(MAX(t.purchase_days), 0) AS purchase_days_two_lookbacks,
  IFNULL(MAX(h.purchase_days / (h.first_days_ago + @lookback_days / 2)), 0)
    AS history_purchase_rate,
  -- Bounded, so that it does not grow with the age of the export.
  MAX(LEAST(h.first_days_ago, 1.5 * @lookback_days)) AS history_days_since_first,
  MAX(h.mean_gap_days) AS history_mean_gap_days,
  MAX(h.last_days_ago / h.mean_gap_days) AS history_recency_in_gaps,
  MAX(CAST(h.revenue AS FLOAT64) / h.purchase_days) AS history_revenue_per_day,
  CAST(IFNULL(MAX(h.fading_20d), 0) AS FLOAT64) AS purchase_days_fading_20d,
  CAST(IFNULL(MAX(h.fading_60d), 0) AS FLOAT64) AS purchase_days_fading_60d,
  CAST(IFNULL(MAX(h.fading_180d), 0) AS FLOAT64) AS purchase_days_fading_180d,
  -- Who left a cart on the last day is nearer to buying than who left one a month ago.
  IFNULL(ARRAY_AGG(d.view_items ORDER BY d.day DESC LIMIT 1)[OFFSET(0)], 0)
    AS last_day_view_items,
  IFNULL(ARRAY_AGG(d.add_to_carts ORDER BY d.day DESC LIMIT 1)[OFFSET(0)], 0)
    AS last_day_add_to_carts,
  ARRAY_AGG(d.visit ORDER BY d.day DESC LIMIT 1)[OFFSET(0)].device_category
    AS device_category,
  ARRAY_AGG(d.visit ORDER BY d.day DESC LIMIT 1)[OFFSET(0)].country AS country${source_columns}
FROM users AS u
LEFT JOIN visits AS d
  ON d.as_of = u.as_of AND d.user_id = u.user_id
LEFT JOIN totals AS t
  ON t.as_of = u.as_of AND t.user_id = u.user_id
LEFT JOIN purchase_history AS h
  ON h.as_of = u.as_of AND h.customer = u.user_id
LEFT JOIN refusals AS r
  ON r.as_of = u.as_of AND r.customer = u.user_id
${source_join}GROUP BY
  u.as_of,
  u.user_id
HAVING
  MAX(r.day) IS NULL
  OR MAX(r.day)
  < COALESCE(MAX(d.day), DATE_SUB(u.as_of, INTERVAL MAX(h.last_days_ago) DAY))

-- part: users
    SELECT
      as_of,
      user_id
    FROM visits
    UNION DISTINCT
    SELECT
      as_of,
      customer AS user_id
    FROM purchase_history
    WHERE last_days_ago <= @bought_days

-- part: active_users
    SELECT DISTINCT
      as_of,
      user_id
    FROM visits

-- part: labels
-- One row per user with label 1 and as-of date; all others of the cohort have label 0.
-- Parameters: @as_ofs ARRAY<DATE>; @lookback_days and @horizon_days INT64; @user_column
--   and @converting_event STRING; @first_repeat_export_day and @last_label_export_day
--   DATE, the days of the export that can hold events of two lookbacks and the horizons;
--   and those of persons.sql.
-- Source: the digest of the export, events in [as_of, as_of + @horizon_days), midnight UTC. An event
-- with the transaction id of an earlier one is none, as transactions.sql says.
WITH
  windows AS (
    SELECT
      as_of,
      @converting_event AS event_name,
      as_of AS since,
      DATE_ADD(as_of, INTERVAL @horizon_days DAY) AS until
    FROM UNNEST(@as_ofs) AS as_of
  ),
  candidates AS (
    SELECT *
    FROM ga_conversions
    WHERE
      export_day BETWEEN @first_repeat_export_day AND @last_label_export_day
      AND event_name = @converting_event
  ),
-- include: transactions.sql
SELECT DISTINCT
  as_of,
  user_id
FROM transactions

-- part: churn
-- One row per user who does not come back and as-of date: with an event in the lookback,
-- and none in the horizon. All others of the cohort have label 0.
-- Parameters: @as_ofs ARRAY<DATE>; @lookback_days and @horizon_days INT64; @user_column
--   STRING; @first_export_day and @last_label_export_day DATE, the days of the export
--   that can hold events of the lookbacks and the horizons; and those of persons.sql.
-- Source: the digest of the export, ga_user_days.
WITH
-- include: persons.sql
  ,
  visits AS (
    SELECT
      user_pseudo_id,
      user_id,
      day
    FROM ga_user_days
    WHERE export_day BETWEEN @first_export_day AND @last_label_export_day
  ),
  user_days AS (
    SELECT
      as_of,
      day,
-- include: event_person.sql
      AS visitor
    FROM UNNEST(@as_ofs) AS as_of
    INNER JOIN
      visits
      ON
        day >= DATE_SUB(as_of, INTERVAL @lookback_days DAY)
        AND day < DATE_ADD(as_of, INTERVAL @horizon_days DAY)
    LEFT JOIN
      persons
      ON snapshot = as_of AND browser = user_pseudo_id
  )
SELECT
  as_of,
  visitor AS user_id
FROM user_days
WHERE visitor IS NOT NULL
GROUP BY as_of, user_id
HAVING MAX(day) < as_of

-- part: days
-- One row per day of the export with events, and how many.
-- Parameters and source: those of ga4_purchase, whose days these are.
-- include: ga4_purchase/days.sql

-- part: source
LEFT JOIN
  (
    SELECT
      as_of AS known_on,
      user_id AS member,
      points,
      tier
    FROM $name
  ) AS $name
  ON $name.known_on = u.as_of AND $name.member = u.user_id
