-- Part of a statement: events of the use case, each once, and the first registration of
-- each of their users. Needs ``chosen``, rows of stream_events.
events AS (
  SELECT
    *
  FROM
    chosen
  QUALIFY
    ROW_NUMBER() OVER (
      PARTITION BY use_case, user_id, event_date, event_id
      ORDER BY received_at, message_id
    ) = 1
),
registrations AS (
  SELECT
    use_case,
    user_id,
    MIN(event_time) AS registration_time
  FROM
    events
  WHERE
    event_type = 'new_registration'
  GROUP BY
    use_case,
    user_id
)
