-- Part of a query: the common table ``purchase_history``, one row per as-of date and user
-- with a purchase in the @history_days before it.
-- Parameters: @history_days INT64; @user_column STRING; @first_history_day and
--   @last_export_day DATE, the days of the export that can hold these purchases.
-- Source: ga_conversions; the common tables ``snapshots``, which has as_of, and those of
--   transactions.sql.
-- A transaction counts once, on its first day, as in transactions.sql, but as far back as
-- the history goes. A date reads the tables of its own window alone.
-- BG/NBD knows of a customer how many purchases there were, and when the first and the
-- last. Models that know this rank as well as with its probabilities beside it. Source:
-- Fader, Hardie and Lee, "Counting Your Customers the Easy Way", Marketing Science 24, 2005.
-- A plain count would grow with the age of the property, so a day with a purchase fades;
-- as NUMERIC, whose sums are the same in any order.
  history_events AS (
    SELECT * FROM ga_conversions
    WHERE
      export_day BETWEEN @first_history_day AND @last_export_day
      AND event_name = 'purchase'
  ),
  history_purchases AS (
    SELECT
      s.as_of,
-- include: event_person.sql
      AS customer,
      EXTRACT(DATE FROM e.event_time) AS day,
      -- Of two at one moment the first is always the same.
      CONCAT(LPAD(CAST(e.event_timestamp AS STRING), 20, '0'), e.event_digest)
        AS moment,
      IFNULL(CONCAT('id ', e.transaction_id), CONCAT('event ', e.event_digest))
        AS identity,
      e.event_digest,
      IF(
        d.has_dollars,
        COALESCE(NULLIF(e.purchase_revenue_in_usd, 0), e.event_value_in_usd),
        COALESCE(NULLIF(e.purchase_revenue, 0), e.event_value)
      ) AS amount
    FROM snapshots AS s
    INNER JOIN history_events AS e
      ON
        e.event_time >= TIMESTAMP(DATE_SUB(s.as_of, INTERVAL @history_days DAY))
        AND e.event_time < TIMESTAMP(s.as_of)
        AND e.export_day >= DATE_SUB(s.as_of, INTERVAL @history_days + 1 DAY)
        AND e.export_day <= s.as_of
    LEFT JOIN persons AS p
      ON p.snapshot = s.as_of AND p.browser = e.user_pseudo_id
    LEFT JOIN in_dollars AS d
      ON d.as_of = s.as_of AND d.kind = e.event_name
  ),
  history_transactions AS (
    SELECT
      as_of,
      customer,
      STRUCT(day AS day, amount AS amount, event_digest AS event_digest) AS purchase
    FROM history_purchases
    WHERE customer IS NOT NULL
    QUALIFY
      ROW_NUMBER() OVER (PARTITION BY as_of, customer, identity ORDER BY moment) = 1
  ),
  history_purchase_days AS (
    SELECT
      as_of,
      customer,
      DATE_DIFF(as_of, purchase.day, DAY) AS days_ago,
      -- Beyond a trillion it is a mistake of the shop's page.
      SUM(IF(ABS(purchase.amount) > NUMERIC '1e12', NULL, purchase.amount)) AS revenue
    FROM history_transactions
    GROUP BY as_of, customer, days_ago
  ),
  purchase_history AS (
    SELECT
      as_of,
      customer,
      COUNT(*) AS purchase_days,
      MAX(days_ago) AS first_days_ago,
      MIN(days_ago) AS last_days_ago,
      (MAX(days_ago) - MIN(days_ago)) / NULLIF(COUNT(*) - 1, 0) AS mean_gap_days,
      SUM(revenue) AS revenue,
      SUM(CAST(EXP(-days_ago / 20) AS NUMERIC)) AS fading_20d,
      SUM(CAST(EXP(-days_ago / 60) AS NUMERIC)) AS fading_60d,
      SUM(CAST(EXP(-days_ago / 180) AS NUMERIC)) AS fading_180d
    FROM history_purchase_days
    GROUP BY as_of, customer
  )
