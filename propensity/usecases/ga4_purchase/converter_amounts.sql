-- One row per as-of date and user of label 1, as in labels.sql, with what the user paid.
-- Parameters: those of labels.sql.
-- Source: view ga_events, events in [as_of, as_of + horizon), midnight UTC.
-- Amounts are in US dollars, or as they are where the export gives none, as in
-- features.sql. A reload of the thank-you page sends a purchase again: the first counts.
SELECT
  as_of,
  user_id,
  SUM(amount) AS amount
FROM
  (
    SELECT
      as_of,
      user_id,
      ARRAY_AGG(amount ORDER BY event_timestamp, amount LIMIT 1)[OFFSET(0)] AS amount
    FROM
      (
        SELECT
          as_of,
          IF(@user_column = 'user_id', e.user_id, e.user_pseudo_id) AS user_id,
          e.event_timestamp,
          -- Shops that send no transaction id have their purchases told apart by time.
          IFNULL(e.transaction_id, CAST(e.event_timestamp AS STRING)) AS transaction_id,
          COALESCE(e.purchase_revenue, e.event_value) AS charged,
          e.n_items,
          e.n_distinct_items,
          -- Beyond a trillion it is a mistake of the shop's page.
          IF(
            ABS(
              COALESCE(
                e.purchase_revenue_in_usd,
                e.event_value_in_usd,
                e.purchase_revenue,
                e.event_value
              )
            ) > NUMERIC '1e12',
            NULL,
            COALESCE(
              e.purchase_revenue_in_usd,
              e.event_value_in_usd,
              e.purchase_revenue,
              e.event_value
            )
          ) AS amount
        FROM
          UNNEST(@as_ofs) AS as_of
        INNER JOIN
          ga_events AS e
          ON
            e.event_time >= TIMESTAMP(as_of)
            AND e.event_time < TIMESTAMP(DATE_ADD(as_of, INTERVAL @horizon_days DAY))
            AND e.table_suffix
            BETWEEN FORMAT_DATE('%Y%m%d', DATE_SUB(as_of, INTERVAL 1 DAY))
            AND FORMAT_DATE('%Y%m%d', DATE_ADD(as_of, INTERVAL @horizon_days DAY))
        WHERE
          e.table_suffix BETWEEN @first_label_suffix AND @last_label_suffix
          AND e.event_name = @label_event
          AND IF(@user_column = 'user_id', e.user_id, e.user_pseudo_id) IS NOT NULL
      ) AS charges
    GROUP BY
      as_of,
      user_id,
      transaction_id,
      charged,
      n_items,
      n_distinct_items
  ) AS transactions
GROUP BY
  as_of,
  user_id
