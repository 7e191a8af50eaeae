-- One row: on how many days purchases were in several currencies. A day has one rate of
-- each to the dollar; small amounts are left out, which are rounded.
-- Parameters: @since DATE, the first day.
-- Source: the digest of the export.
SELECT COUNT(*) AS days
FROM
  (
    SELECT export_day
    FROM ga_conversions
    WHERE
      export_day >= @since
      AND event_name = 'purchase'
      AND purchase_revenue >= 10
      AND purchase_revenue_in_usd >= 1
    GROUP BY export_day
    HAVING
      MAX(purchase_revenue_in_usd / purchase_revenue)
      > NUMERIC '1.02' * MIN(purchase_revenue_in_usd / purchase_revenue)
  )
