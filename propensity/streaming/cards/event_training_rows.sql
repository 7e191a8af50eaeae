-- One row per event, with the outcome that is known by the as-of date.
-- Parameters: @use_case STRING; @as_of DATE; @since DATE, the first day of the events;
--   @truth_delay_days INT64; @maximum_rows INT64.
-- Source: inference_log, however often an event was scored, and truth_events.
-- What the stream or a file says of an event counts before what a caller of score says,
-- who could change the model.
-- An event is known by its newest truth; unknown, if none has come in @truth_delay_days;
-- else pending. The label of the latter two is null, and never taken for 0.
-- Beyond @maximum_rows the events of a user are all read or all left out, but for users
-- with more than a hundredth of these rows, whose events go each by themselves.
WITH
  events AS (
    SELECT *
    FROM
      (
-- include: past_inferences.sql
      )
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY event_id
        ORDER BY COALESCE(source = 'online', FALSE), scored_at, inference_id
      ) = 1
  ),
  labelled AS (
    SELECT
      e.event_id,
      e.user_id,
      e.event_time,
      e.event_date AS as_of,
      e.features,
      t.label,
      t.truth_time,
      COALESCE(t.is_conflicting, FALSE) AS is_conflicting,
      CASE
        WHEN t.label IS NOT NULL THEN 'known'
        WHEN
          TIMESTAMP_ADD(e.event_time, INTERVAL @truth_delay_days * 24 HOUR)
          <= TIMESTAMP(@as_of)
          THEN 'unknown'
        ELSE 'pending'
      END AS state,
      IF(
        e.user_id IS NOT NULL
        AND COUNT(*) OVER (PARTITION BY e.user_id) <= DIV(@maximum_rows, 100),
        e.user_id,
        e.event_id
      ) AS sampled_by,
      FALSE AS is_quiet
    FROM events AS e
    LEFT JOIN
      (
-- include: newest_truths.sql
      ) AS t
      ON t.event_id = e.event_id
  ),
-- include: sampled_rows.sql
