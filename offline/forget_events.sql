-- One row per event of some users that is known by the stream or by a score.
-- Parameters: @keys ARRAY<STRING>, the users; @use_case STRING, empty for all.
-- Source: stream_events and inference_log, in all partitions.
SELECT CONCAT(use_case, '/', event_id) AS event
FROM stream_events
WHERE
  received_on >= DATE '1970-01-01'
  AND user_id IN UNNEST(@keys)
  AND (@use_case = '' OR use_case = @use_case)
UNION DISTINCT
SELECT CONCAT(use_case, '/', event_id) AS event
FROM inference_log
WHERE
  scored_on >= DATE '1970-01-01'
  AND user_id IN UNNEST(@keys)
  AND (@use_case = '' OR use_case = @use_case)
