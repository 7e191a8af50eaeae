-- Part of a query: the common table ``transactions``, the events of windows, each once.
-- Parameters: @lookback_days INT64; @user_column STRING, user_pseudo_id or user_id.
-- Source: the common tables ``windows``, which has as_of, event_name, since and until
--   (DATE, midnight UTC), and ``candidates``, rows of ga_events that reach back a
--   lookback before the windows.
-- As Analytics counts: a user's events of one name with one transaction id are one, the
-- first, with its day, its amount and its items, whatever the later ones say: somebody
-- opens the order page again, or a page and a server both report the order. Refunds may
-- share an id and are events of their own. These, and events without an id, are one only
-- where the export has the same row twice.
-- A date reads the tables of its own window, as if it were the only one: an event in the
-- table of a later day was not there on it.
-- Amounts are in US dollars, or as they are where the export gives none. Beyond a
-- trillion they are a mistake of the shop's page.
  transactions AS (
    SELECT
      as_of,
      event_name,
      user_id,
      event_timestamp,
      EXTRACT(DATE FROM event_time) AS day,
      n_items,
      n_distinct_items,
      CASE
        WHEN ABS(stated) > NUMERIC '1e12' THEN NULL
        WHEN event_name = 'refund' THEN ABS(stated)
        ELSE stated
      END AS amount
    FROM
      (
        SELECT
          w.as_of,
          w.since,
          e.* EXCEPT (user_id),
          IF(@user_column = 'user_id', e.user_id, e.user_pseudo_id) AS user_id,
          IF(
            e.transaction_id IS NULL OR e.event_name = 'refund',
            CONCAT('event ', e.event_digest),
            CONCAT('id ', e.transaction_id)
          ) AS identity,
          -- Nothing, beside a value above it, is what a page says that fills in the value
          -- alone.
          COALESCE(
            NULLIF(e.refund_value_in_usd, 0),
            NULLIF(e.purchase_revenue_in_usd, 0),
            IF(e.event_value_in_usd > 0, e.event_value_in_usd, NULL),
            NULLIF(e.refund_value, 0),
            NULLIF(e.purchase_revenue, 0),
            IF(e.event_value > 0, e.event_value, NULL),
            e.purchase_revenue_in_usd,
            e.event_value_in_usd,
            e.purchase_revenue,
            e.event_value
          ) AS stated
        FROM
          windows AS w
        INNER JOIN
          candidates AS e
          ON
            e.event_name = w.event_name
            AND e.event_time
            >= TIMESTAMP(DATE_SUB(w.since, INTERVAL @lookback_days DAY))
            AND e.event_time < TIMESTAMP(w.until)
            AND e.table_suffix <= FORMAT_DATE('%Y%m%d', w.until)
      )
    WHERE
      user_id IS NOT NULL
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY as_of, event_name, user_id, identity
        ORDER BY event_timestamp, stated DESC, event_digest
      ) = 1
      AND event_time >= TIMESTAMP(since)
      AND table_suffix >= FORMAT_DATE('%Y%m%d', DATE_SUB(since, INTERVAL 1 DAY))
  )
