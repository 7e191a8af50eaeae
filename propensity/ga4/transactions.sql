-- Part of a query: the common table ``transactions``, the events of windows, each once,
-- and ``every_transaction``, with those of nobody known: a null user_id.
-- Parameters: @lookback_days INT64; @user_column STRING, user_pseudo_id, user_id or
--   person; @currency STRING, of the use case; and those of persons.sql.
-- Source: the common tables ``windows``, which has as_of, event_name, since and until
--   (DATE, midnight UTC), and ``candidates``, rows of ga_conversions with all their
--   columns, from two lookbacks before the first as-of date on.
-- As Analytics counts: a user's events of one name with one transaction id are one, the
-- first, with its day, its amount and its items, whatever the later ones say: somebody
-- opens the order page again, or a page and a server both report the order. Refunds may
-- share an id and are events of their own. These, and events without an id, are one only
-- where the export has the same row twice.
-- The first is looked for in the two lookbacks before a window ends, in features, labels
-- and amounts alike.
-- A date reads the tables of its own window, as if it were the only one: an event in the
-- table of a later day was not there on it, and one in the table of a day before the
-- lookback is not recent.
-- A refund that says no amount is of its whole order, if the order is known and it names
-- no fewer items.
-- An amount is that of an event's own column, a refund's or a purchase's, or its value;
-- of a refund without either its revenue.
-- Amounts are in US dollars, or as they are where no event of the kind that a date reads
-- in its lookback has dollars: beside dollars, amounts without are not known. Purchases
-- and refunds are one kind. They are as they are, too, where the use case says another
-- currency. Beyond a trillion they are a mistake of the shop's page.
-- include: persons.sql
  ,
  identified AS (
    SELECT
      w.as_of,
      w.since,
      e.* EXCEPT (user_id),
-- include: event_person.sql
      AS user_id,
      IF(e.event_name = 'refund', 'purchase', e.event_name) AS kind,
      IF(e.event_name = 'refund', e.refund_value, e.purchase_revenue) AS own_value,
      IF(
        e.event_name = 'refund', e.refund_value_in_usd, e.purchase_revenue_in_usd
      ) AS own_value_in_usd,
      e.export_day < DATE_SUB(w.as_of, INTERVAL @lookback_days + 1 DAY) AS is_older
    FROM windows AS w
    INNER JOIN candidates AS e
      ON
        e.event_name = w.event_name
        AND e.event_time
        >= TIMESTAMP(DATE_SUB(w.until, INTERVAL 2 * @lookback_days DAY))
        AND e.event_time < TIMESTAMP(w.until)
        AND e.export_day
        BETWEEN DATE_SUB(w.as_of, INTERVAL 2 * @lookback_days + 1 DAY) AND w.until
    LEFT JOIN persons AS p
      ON p.snapshot = w.as_of AND p.browser = e.user_pseudo_id
  ),
  in_dollars AS (
    SELECT as_of, kind, TRUE AS has_dollars
    FROM identified
    WHERE
      NOT is_older
      AND @currency IN ('', 'USD')
      AND (
        own_value_in_usd > 0
        OR purchase_revenue_in_usd > 0
        OR event_value_in_usd > 0
      )
    GROUP BY as_of, kind
  ),
  every_transaction AS (
    SELECT
      as_of,
      event_name,
      user_id,
      event_timestamp,
      EXTRACT(DATE FROM event_time) AS day,
      NOT is_older
      AND event_time >= TIMESTAMP(DATE_SUB(as_of, INTERVAL @lookback_days DAY))
        AS is_recent,
      n_items,
      n_distinct_items,
      CASE
        WHEN ABS(due) > NUMERIC '1e12' THEN NULL
        WHEN event_name = 'refund' THEN ABS(due)
        ELSE due
      END AS amount
    FROM
      (
        SELECT
          *,
          IF(
            transaction_id IS NULL OR event_name = 'refund',
            CONCAT('event ', event_digest),
            CONCAT('id ', transaction_id)
          ) AS identity,
          IF(
            event_name = 'refund'
            AND stated IS NULL
            AND as_it_is IS NULL
            AND transaction_id IS NOT NULL
            AND IFNULL(
              n_items >= FIRST_VALUE(
                IF(event_name = 'purchase', n_items, NULL) IGNORE NULLS
              ) OVER orders,
              TRUE
            ),
            FIRST_VALUE(
              IF(event_name = 'purchase', stated, NULL) IGNORE NULLS
            ) OVER orders,
            stated
          ) AS due
        FROM
          (
            SELECT
              *,
              -- Nothing, beside a value above it, is what a page says that fills in the
              -- value alone.
              CASE
                WHEN COALESCE(in_usd, as_it_is) IS NULL
                  THEN COALESCE(
                    purchase_revenue_in_usd,
                    event_value_in_usd,
                    purchase_revenue,
                    event_value
                  )
                ELSE IF(has_dollars, in_usd, as_it_is)
              END AS stated
            FROM
              (
                SELECT
                  *,
                  COALESCE(
                    NULLIF(own_value_in_usd, 0),
                    IF(event_value_in_usd > 0, event_value_in_usd, NULL),
                    NULLIF(purchase_revenue_in_usd, 0)
                  ) AS in_usd,
                  COALESCE(
                    NULLIF(own_value, 0),
                    IF(event_value > 0, event_value, NULL),
                    NULLIF(purchase_revenue, 0)
                  ) AS as_it_is
                FROM identified
                LEFT JOIN in_dollars USING (as_of, kind)
              )
          )
        WINDOW
          orders AS (
            PARTITION BY as_of, user_id, transaction_id
            ORDER BY event_timestamp, stated DESC, event_digest
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
          )
      )
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY as_of, event_name, user_id, identity
        ORDER BY event_timestamp, stated DESC, event_digest
      ) = 1
      AND event_time >= TIMESTAMP(since)
      AND export_day >= DATE_SUB(since, INTERVAL 1 DAY)
  ),
  transactions AS (
    SELECT * FROM every_transaction
    WHERE user_id IS NOT NULL
  )
