-- Part of a query: the common table ``item_history``, one row per as-of date and user
-- with a purchase of known items in two lookbacks: what the last of these was like.
-- Parameters: @lookback_days INT64; @first_repeat_export_day and @last_export_day DATE,
--   the days of the export that can hold these purchases.
-- Source: ga_conversions; the common table history_transactions of purchase_history.sql.
-- Who bought what many buy, or what they had bought before, comes back sooner.
-- Popularity is a share of the buyers of four weeks: a count would grow with the shop.
-- Items of the whole history tell more, for three times the bytes.
-- Shares are quotients of whole numbers, which are the same in any order.
  -- Once for all dates: the emulator is slow at arrays.
  event_items AS (
    SELECT DISTINCT export_day, event_digest, item_id
    FROM ga_conversions
    CROSS JOIN UNNEST(item_ids) AS item_id
    WHERE
      export_day BETWEEN @first_repeat_export_day AND @last_export_day
      AND event_name = 'purchase'
  ),
  history_items AS (
    SELECT
      t.as_of,
      t.customer,
      e.item_id,
      DATE_DIFF(t.as_of, MIN(t.purchase.day), DAY) AS first_days_ago,
      DATE_DIFF(t.as_of, MAX(t.purchase.day), DAY) AS last_days_ago
    FROM history_transactions AS t
    INNER JOIN event_items AS e
      ON
        e.event_digest = t.purchase.event_digest
        AND e.export_day >= DATE_SUB(t.as_of, INTERVAL 2 * @lookback_days + 1 DAY)
        AND e.export_day <= t.as_of
    WHERE t.purchase.day >= DATE_SUB(t.as_of, INTERVAL 2 * @lookback_days DAY)
    GROUP BY t.as_of, t.customer, e.item_id
  ),
  item_buyers AS (
    SELECT as_of, item_id, COUNT(*) AS buyers
    FROM history_items
    WHERE last_days_ago <= 28
    GROUP BY as_of, item_id
  ),
  buyers_of_items AS (
    SELECT as_of, COUNT(DISTINCT customer) AS buyers
    FROM history_items
    WHERE last_days_ago <= 28
    GROUP BY as_of
  ),
  last_items AS (
    SELECT *
    FROM history_items
    QUALIFY last_days_ago = MIN(last_days_ago) OVER (PARTITION BY as_of, customer)
  ),
  item_history AS (
    SELECT
      i.as_of,
      i.customer,
      SUM(IFNULL(b.buyers, 0)) / (COUNT(*) * ANY_VALUE(t.buyers)) AS popularity,
      COUNTIF(i.first_days_ago > i.last_days_ago) / COUNT(*) AS repeated
    FROM last_items AS i
    LEFT JOIN item_buyers AS b
      ON b.as_of = i.as_of AND b.item_id = i.item_id
    LEFT JOIN buyers_of_items AS t
      ON t.as_of = i.as_of
    GROUP BY i.as_of, i.customer
  )
