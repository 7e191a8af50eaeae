-- One row: how many events of some users the export has, of the events that we read.
-- Parameters: @keys ARRAY<STRING>.
SELECT COUNT(*) AS events
FROM ga_events
WHERE
  table_suffix BETWEEN '00000000' AND '99999999'
  AND (user_pseudo_id IN UNNEST(@keys) OR user_id IN UNNEST(@keys))
