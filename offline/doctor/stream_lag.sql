-- One row per use case that received events since a moment: the newest of them, the
--   newest of a type that is scored, and the newest score that the stream gave.
-- Parameters: @since TIMESTAMP; @since_day DATE, its day; @scored ARRAY<STRING>, the
--   types of events that are scored whenever they come.
-- Sources: stream_events, inference_log.
SELECT
  e.use_case,
  e.received_at,
  e.scorable_at,
  s.scored_at
FROM
  (
    SELECT
      use_case,
      MAX(received_at) AS received_at,
      MAX(IF(event_type IN UNNEST(@scored), received_at, NULL)) AS scorable_at
    FROM
      stream_events
    WHERE
      received_on >= @since_day
      AND received_at >= @since
    GROUP BY
      use_case
  ) AS e
LEFT JOIN
  (
    SELECT
      use_case,
      MAX(scored_at) AS scored_at
    FROM
      inference_log
    WHERE
      scored_on >= @since_day
      AND scored_at >= @since
      AND source = 'stream'
    GROUP BY
      use_case
  ) AS s
  ON s.use_case = e.use_case
ORDER BY
  e.use_case
