-- One row: what arrived of a use case since a moment, and what became of it. Dead letters
-- are of all use cases.
-- Parameters: @use_case STRING; @since TIMESTAMP.
-- Sources: stream_events, truth_events, dead_letters, inference_log.
SELECT
  COUNT(*) AS stored_rows,
  COUNT(DISTINCT event_id) AS events,
  (
    SELECT COUNT(*) FROM truth_events
    WHERE
      use_case = @use_case
      AND received_on >= DATE(@since)
      AND received_at >= @since
  ) AS truths,
  (
    SELECT COUNT(DISTINCT message_id) FROM dead_letters
    WHERE
      received_on >= DATE(@since)
      AND received_at >= @since
  ) AS dead_letters,
  (
    SELECT COUNT(DISTINCT event_id) FROM inference_log
    WHERE
      use_case = @use_case
      AND scored_on >= DATE(@since)
      AND scored_at >= @since
  ) AS scored
FROM stream_events
WHERE
  use_case = @use_case
  AND received_on >= DATE(@since)
  AND received_at >= @since
