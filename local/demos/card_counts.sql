-- One row: what came in of a use case of events since a moment, and what came of it.
-- Parameters: @use_case STRING; @since TIMESTAMP; @since_day DATE, its day; @prefix
--   STRING, how the events' ids begin.
-- Sources: stream_events, truth_events, dead_letters, inference_log.
SELECT
  (
    SELECT
      COUNT(*)
    FROM
      stream_events
    WHERE
      use_case = @use_case
      AND received_on >= @since_day
      AND received_at >= @since
      AND STARTS_WITH(event_id, @prefix)
  ) AS stored_rows,
  (
    SELECT
      COUNT(DISTINCT event_id)
    FROM
      stream_events
    WHERE
      use_case = @use_case
      AND received_on >= @since_day
      AND received_at >= @since
      AND STARTS_WITH(event_id, @prefix)
  ) AS events,
  (
    SELECT
      COUNT(*)
    FROM
      truth_events
    WHERE
      use_case = @use_case
      AND received_on >= @since_day
      AND received_at >= @since
      AND STARTS_WITH(event_id, @prefix)
  ) AS truths,
  (
    SELECT
      COUNT(DISTINCT message_id)
    FROM
      dead_letters
    WHERE
      received_on >= @since_day
      AND received_at >= @since
  ) AS dead_letters,
  (
    SELECT
      COUNT(DISTINCT event_id)
    FROM
      inference_log
    WHERE
      use_case = @use_case
      AND scored_on >= @since_day
      AND scored_at >= @since
      AND STARTS_WITH(event_id, @prefix)
  ) AS scored
