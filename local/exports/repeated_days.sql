-- One row: a day most of whose events are there twice, and the first file that has it;
-- or none. Source: events.
SELECT
  MIN(file),
  event_date
FROM
  events
GROUP BY
  event_date
HAVING
  COUNT(*) > 1.5 * COUNT(DISTINCT HASH((
    event_timestamp, event_name, user_pseudo_id, user_id, event_params, items,
    batch_event_index, batch_page_id, batch_ordering_id
  )))
ORDER BY
  event_date
LIMIT
  1
