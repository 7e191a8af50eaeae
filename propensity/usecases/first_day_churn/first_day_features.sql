-- Part of a statement: the features of each user of ``chosen``, rows of stream_events, at
-- moments of the first day; the one definition for training, publications and scores.
-- Parameters: @first_day_hours INT64.
-- Needs ``moments``, numbers: 0 is the end of the day, 1 the moment after the registration,
-- and all others are random moments of it, by a hash of user and number, more of them early,
-- when most events come.
-- Needs ``earlier``, the registrations that are compacted, however old: who had registered
-- before the rows of ``chosen`` begin is no new player. So that this holds, the compaction
-- must have run since those days; before it has, ``chosen`` alone says who is new.
-- An event counts from the registration on, and before the moment: what follows is what
-- the model is asked to foresee. The twelve sums and moments are
-- those of the view stream_features, by event_sums.sql and event_statistics.sql.
events AS (
  SELECT * FROM chosen
  QUALIFY
-- include: event_identity.sql
),
registrations AS (
  SELECT
    user_id,
    MIN(registration_time) AS scored_from
  FROM
    (
      SELECT user_id, event_time AS registration_time
      FROM events
      WHERE event_type = 'new_registration'
      UNION ALL
      SELECT user_id, registration_time
      FROM earlier
    )
  GROUP BY user_id
),
moments_of_days AS (
  SELECT
    r.*,
    TIMESTAMP_ADD(
      r.scored_from,
      INTERVAL CASE
        WHEN m.number = 0 THEN @first_day_hours * 3600000000
        WHEN m.number = 1 THEN 1
        ELSE 1 + CAST(
          FLOOR(
            (@first_day_hours * 3600000000 - 1)
            * POW(
              0.5
              + FARM_FINGERPRINT(CONCAT(r.user_id, '.', CAST(m.number AS STRING)))
              / 1.8446744073709552e19,
              2
            )
          ) AS INT64
        )
      END MICROSECOND
    ) AS moment
  FROM registrations AS r
  CROSS JOIN moments AS m
),
totals AS (
  SELECT
    r.user_id,
    r.scored_from,
    r.moment,
    MAX(e.event_time) AS newest_event,
-- include: event_sums.sql
  FROM moments_of_days AS r
  INNER JOIN events AS e
    ON
      e.user_id = r.user_id
      AND e.event_time >= r.scored_from
      AND e.event_time < r.moment
  GROUP BY r.user_id, r.scored_from, r.moment
),
statistics AS (
  SELECT
    user_id,
    scored_from,
    moment,
    newest_event,
    registration,
-- include: event_statistics.sql
  FROM totals
),
first_day_features AS (
  SELECT
    user_id,
    scored_from,
    TIMESTAMP_ADD(scored_from, INTERVAL @first_day_hours HOUR) AS scored_until,
    newest_event,
    TIMESTAMP_DIFF(moment, scored_from, MICROSECOND) / 3.6e9 AS hours_since_registration,
    CAST(purchase_sum AS FLOAT64) AS purchase_sum,
    CAST(purchase_mean AS FLOAT64) AS purchase_mean,
    CAST(purchase_count AS FLOAT64) AS purchase_count,
    CAST(purchase_var AS FLOAT64) AS purchase_var,
    CAST(bet_sum AS FLOAT64) AS bet_sum,
    CAST(bet_mean AS FLOAT64) AS bet_mean,
    CAST(bet_count AS FLOAT64) AS bet_count,
    CAST(bet_var AS FLOAT64) AS bet_var,
    CAST(win_sum AS FLOAT64) AS win_sum,
    CAST(win_mean AS FLOAT64) AS win_mean,
    CAST(win_count AS FLOAT64) AS win_count,
    CAST(win_var AS FLOAT64) AS win_var,
    CAST(registration.age AS FLOAT64) AS age,
    registration.socioeconomic_idx AS socioeconomic_idx,
    registration.country AS country,
    registration.campaign AS campaign,
    registration.affiliate_url AS affiliate_url,
    CAST(EXTRACT(HOUR FROM registration.registration_time) AS FLOAT64) AS registration_hour
  FROM statistics
)
