-- One row per currency that events with an amount name, null for none, of one day.
-- Parameters: @suffix STRING, the day's table.
-- Source: ga_events, whose one day is read: the digest has no currencies.
SELECT currency
FROM ga_events
WHERE
  table_suffix = @suffix
  AND COALESCE(purchase_revenue, event_value) > 0
GROUP BY currency
