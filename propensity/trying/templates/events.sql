-- part: features
-- One row per user and as-of date.
-- Parameters: @lookback_days INT64; those of usecase.toml.
-- Source: events, which usecase.toml declares. For each date of @as_ofs, as_of, it has the
-- events in [as_of - @lookback_days, as_of), midnight UTC: user_id, event_time,
-- event_name, amount, and days_ago, the days from the event to the date, from 1 on.
-- history has the same of the history_days before the date. It is for what is rare, such as
-- purchases; say in purchase_days which events these are.
WITH
  purchase_days AS (
    SELECT
      as_of,
      user_id,
      days_ago,
      SUM(amount) AS revenue
    FROM history
    WHERE ${purchases}
    GROUP BY as_of, user_id, days_ago
  ),
  -- A plain count would grow with the age of the table, so a day with a purchase fades.
  purchase_history AS (
    SELECT
      as_of,
      user_id,
      COUNT(*) AS purchase_days,
      MAX(days_ago) AS first_days_ago,
      MIN(days_ago) AS last_days_ago,
      (MAX(days_ago) - MIN(days_ago)) / NULLIF(COUNT(*) - 1, 0) AS mean_gap_days,
      SUM(revenue) AS revenue,
      SUM(CAST(EXP(-days_ago / 20) AS NUMERIC)) AS fading_20d,
      SUM(CAST(EXP(-days_ago / 60) AS NUMERIC)) AS fading_60d,
      SUM(CAST(EXP(-days_ago / 180) AS NUMERIC)) AS fading_180d
    FROM purchase_days
    GROUP BY as_of, user_id
  ),
  users AS (
${users}
  )
SELECT
  u.as_of,
  u.user_id,
  IF(COUNT(event_time) > 0, 'active', 'away') AS presence,
  -- Of somebody away, since the last purchase.
  COALESCE(
    (UNIX_MICROS(TIMESTAMP(u.as_of)) - UNIX_MICROS(MAX(event_time))) / 86400e6,
    MAX(h.last_days_ago)
  ) AS recency_days,
  (UNIX_MICROS(TIMESTAMP(u.as_of)) - UNIX_MICROS(MIN(event_time))) / 86400e6
    AS first_event_days,
  COUNT(DISTINCT EXTRACT(DATE FROM event_time)) AS active_days,
  -- Null where there is one event.
  (UNIX_MICROS(MAX(event_time)) - UNIX_MICROS(MIN(event_time))) / 86400e6
    / NULLIF(COUNT(event_time) - 1, 0) AS mean_gap_days${columns},
  IFNULL(MAX(h.purchase_days / (h.first_days_ago + @lookback_days / 2)), 0)
    AS history_purchase_rate,
  -- Bounded, so that it does not grow with the age of the table.
  MAX(LEAST(h.first_days_ago, 1.5 * @lookback_days)) AS history_days_since_first,
  MAX(h.mean_gap_days) AS history_mean_gap_days,
  MAX(h.last_days_ago / h.mean_gap_days) AS history_recency_in_gaps,
  CAST(MAX(h.revenue / h.purchase_days) AS FLOAT64) AS history_revenue_per_day,
  CAST(IFNULL(MAX(h.fading_20d), 0) AS FLOAT64) AS purchase_days_fading_20d,
  CAST(IFNULL(MAX(h.fading_60d), 0) AS FLOAT64) AS purchase_days_fading_60d,
  CAST(IFNULL(MAX(h.fading_180d), 0) AS FLOAT64) AS purchase_days_fading_180d${source_columns}
FROM users AS u
LEFT JOIN events AS d
  ON d.as_of = u.as_of AND d.user_id = u.user_id
LEFT JOIN purchase_history AS h
  ON h.as_of = u.as_of AND h.user_id = u.user_id
${source_join}GROUP BY
  u.as_of,
  u.user_id

-- part: users
    SELECT
      as_of,
      user_id
    FROM events
    UNION DISTINCT
    SELECT
      as_of,
      user_id
    FROM purchase_history
    WHERE last_days_ago <= @bought_days

-- part: active_users
    SELECT DISTINCT
      as_of,
      user_id
    FROM events

-- part: labels
-- One row per user with label 1 and as-of date; all others of the cohort have label 0.
-- Parameters: @converting_event STRING.
-- Source: events, which usecase.toml declares. For each date of @as_ofs, as_of, it has the
-- events in [as_of - @lookback_days, as_of + @horizon_days), midnight UTC.
SELECT DISTINCT
  as_of,
  user_id
FROM events
WHERE days_ago <= 0${condition}

-- part: churn
-- One row per user who stays away and as-of date: with an event in the lookback, and none
-- (or none that is predicted) in the horizon. All others of the cohort have label 0.
-- Source: events, which usecase.toml declares. For each date of @as_ofs, as_of, it has the
-- events in [as_of - @lookback_days, as_of + @horizon_days), midnight UTC.
SELECT
  as_of,
  user_id
FROM events
GROUP BY as_of, user_id
HAVING
  MAX(days_ago) > 0
  AND COUNTIF(days_ago <= 0${condition}) = 0

-- part: days
-- One row per day with events, and how many.
-- Source: events, which usecase.toml declares: all from two days before the first lookback
-- on.
SELECT
  EXTRACT(DATE FROM event_time) AS day,
  COUNT(*) AS n_events
FROM events
GROUP BY day

-- part: converter_amounts
-- One row per user with label 1 and as-of date: what the outcome was worth.
-- Source: events, as labels.sql reads them.
SELECT
  as_of,
  user_id,
  SUM(amount) AS amount
FROM events
WHERE days_ago <= 0${condition}
GROUP BY as_of, user_id
