-- One row: what came in by the stream since a moment, and what came of it.
-- Parameters: @since TIMESTAMP; @since_day DATE, its day.
-- Sources: stream_events, dead_letters.
SELECT
  (
    SELECT
      COUNT(*)
    FROM
      stream_events
    WHERE
      received_on >= @since_day
      AND received_at >= @since
  ) AS stored_rows,
  (
    SELECT
      COUNT(DISTINCT TO_JSON_STRING(STRUCT(
        use_case AS use_case,
        user_id AS user_id,
        event_date AS event_date,
        event_id AS event_id
      )))
    FROM
      stream_events
    WHERE
      received_on >= @since_day
      AND received_at >= @since
  ) AS events,
  (
    SELECT
      COUNT(DISTINCT message_id)
    FROM
      dead_letters
    WHERE
      received_on >= @since_day
      AND received_at >= @since
  ) AS dead_letters
