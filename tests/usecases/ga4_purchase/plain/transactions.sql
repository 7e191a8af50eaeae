-- Part of a query: the common table ``transactions``, the events of windows, each once,
-- Source: view ga_events, as of a statement that knows no digest.
-- include: persons.sql
  ,
  every AS (
    SELECT * FROM candidates
    UNION ALL
    SELECT *
    FROM ga_events
    WHERE
      table_suffix >= @first_repeat_suffix
      AND table_suffix < @first_suffix
      AND event_name IN (SELECT event_name FROM windows)
  ),
  identified AS (
    SELECT
      w.as_of,
      w.since,
      e.* EXCEPT (user_id),
-- include: event_person.sql
      AS user_id,
      e.table_suffix
      < FORMAT_DATE('%Y%m%d', DATE_SUB(w.as_of, INTERVAL @lookback_days + 1 DAY))
        AS is_older
    FROM windows AS w
    INNER JOIN every AS e
      ON
        e.event_name = w.event_name
        AND e.event_time
        >= TIMESTAMP(DATE_SUB(w.until, INTERVAL 2 * @lookback_days DAY))
        AND e.event_time < TIMESTAMP(w.until)
        AND e.table_suffix <= FORMAT_DATE('%Y%m%d', w.until)
    LEFT JOIN persons AS p
      ON p.snapshot = w.as_of AND p.browser = e.user_pseudo_id
  ),
  in_dollars AS (
    SELECT as_of, event_name, TRUE AS has_dollars
    FROM identified
    WHERE
      NOT is_older
      AND (
        refund_value_in_usd > 0
        OR purchase_revenue_in_usd > 0
        OR event_value_in_usd > 0
      )
    GROUP BY as_of, event_name
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
            id IS NULL OR event_name = 'refund',
            CONCAT('event ', event_digest),
            CONCAT('id ', id)
          ) AS identity,
          IF(
            event_name = 'refund'
            AND stated IS NULL
            AND id IS NOT NULL
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
              transaction_id AS id,
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
                    NULLIF(refund_value_in_usd, 0),
                    NULLIF(purchase_revenue_in_usd, 0),
                    IF(event_value_in_usd > 0, event_value_in_usd, NULL)
                  ) AS in_usd,
                  COALESCE(
                    NULLIF(refund_value, 0),
                    NULLIF(purchase_revenue, 0),
                    IF(event_value > 0, event_value, NULL)
                  ) AS as_it_is
                FROM identified
                LEFT JOIN in_dollars USING (as_of, event_name)
              )
          )
        WINDOW
          orders AS (
            PARTITION BY as_of, user_id, id
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
      AND table_suffix >= FORMAT_DATE('%Y%m%d', DATE_SUB(since, INTERVAL 1 DAY))
  ),
  transactions AS (
    SELECT * FROM every_transaction
    WHERE user_id IS NOT NULL
  )
