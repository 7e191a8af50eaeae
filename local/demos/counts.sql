-- One row: what arrived of a use case since a moment, and what became of it. Dead letters
-- are of all use cases.
-- Parameters: @use_case STRING; @since TIMESTAMP.
-- Sources: stream_events, truth_events, dead_letters, inference_log.
WITH
  stored AS (
    SELECT
      COUNT(*) AS stored_rows,
      COUNT(DISTINCT event_id) AS events
    FROM stream_events
    WHERE
      use_case = @use_case
      AND received_on >= DATE(@since)
      AND received_at >= @since
  ),
  truths AS (
    SELECT COUNT(*) AS truths
    FROM truth_events
    WHERE
      use_case = @use_case
      AND received_on >= DATE(@since)
      AND received_at >= @since
  ),
  letters AS (
    SELECT COUNT(DISTINCT message_id) AS dead_letters
    FROM dead_letters
    WHERE
      received_on >= DATE(@since)
      AND received_at >= @since
  ),
  scores AS (
    SELECT COUNT(DISTINCT event_id) AS scored
    FROM inference_log
    WHERE
      use_case = @use_case
      AND scored_on >= DATE(@since)
      AND scored_at >= @since
  )
SELECT *
FROM
  stored,
  truths,
  letters,
  scores
