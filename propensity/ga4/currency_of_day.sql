-- One row: the currency that all events with an amount of a day name; null if there are
-- none, if they name several, and if any names none.
-- Parameters: @suffix STRING, the day's table.
-- Source: ga_events, whose one day is read: the digest has no currencies.
SELECT IF(COUNT(DISTINCT COALESCE(currency, '')) = 1, MAX(currency), NULL) AS currency
FROM `ga_events`
WHERE
  table_suffix = @suffix
  AND COALESCE(purchase_revenue, event_value) > 0
