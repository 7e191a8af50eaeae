-- One row: what came in of a use case since a moment, and what came of it. Dead letters
-- are of all use cases.
-- Parameters: @use_case STRING; @since TIMESTAMP.
-- Sources: stream_events, truth_events, dead_letters, inference_log.
SELECT
  stored_rows,
  events,
  truths,
  dead_letters,
  scored
FROM
  (
    SELECT
      COUNT(*) AS stored_rows,
      COUNT(DISTINCT event_id) AS events
    FROM
      stream_events
    WHERE
      use_case = @use_case
      AND received_on >= DATE(@since)
      AND received_at >= @since
  )
CROSS JOIN
  (
    SELECT
      COUNT(*) AS truths
    FROM
      truth_events
    WHERE
      use_case = @use_case
      AND received_on >= DATE(@since)
      AND received_at >= @since
  )
CROSS JOIN
  (
    SELECT
      COUNT(DISTINCT message_id) AS dead_letters
    FROM
      dead_letters
    WHERE
      received_on >= DATE(@since)
      AND received_at >= @since
  )
CROSS JOIN
  (
    SELECT
      COUNT(DISTINCT event_id) AS scored
    FROM
      inference_log
    WHERE
      use_case = @use_case
      AND scored_on >= DATE(@since)
      AND scored_at >= @since
  )
