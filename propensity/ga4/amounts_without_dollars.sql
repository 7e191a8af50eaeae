-- One row: the newest day with amounts if none of them has dollars; else null.
-- Parameters: @since DATE, the first day.
-- Source: the digest of the export.
SELECT
  IF(
    COUNTIF(COALESCE(purchase_revenue_in_usd, event_value_in_usd) > 0) = 0,
    MAX(IF(COALESCE(purchase_revenue, event_value) > 0, export_day, NULL)),
    NULL
  ) AS day
FROM ga_conversions
WHERE export_day >= @since
