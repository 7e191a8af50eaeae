-- Part of a statement: events of the use case, each once, and the first registration of
-- each of their users. Needs ``chosen``, rows of stream_events, and ``earlier``, the
-- registrations that are compacted, however old: who had registered before the rows of
-- ``chosen`` begin is no new player. So that this holds, the compaction must have run
-- since those days; before it has, ``chosen`` alone says who is new.
events AS (
  SELECT
    *
  FROM
    chosen
  QUALIFY
-- include: event_identity.sql
),
registrations AS (
  SELECT
    use_case,
    user_id,
    MIN(registration_time) AS registration_time
  FROM
    (
      SELECT
        use_case,
        user_id,
        event_time AS registration_time
      FROM
        events
      WHERE
        event_type = 'new_registration'
      UNION ALL
      SELECT
        use_case,
        user_id,
        registration_time
      FROM
        earlier
    )
  GROUP BY
    use_case,
    user_id
)
