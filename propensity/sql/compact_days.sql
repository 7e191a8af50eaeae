-- Add to the tiles what was received since the watermark and is not counted yet.
-- Parameters: @since TIMESTAMP, the watermark; @since_day DATE, its day; @first_month
--   DATE, the month of the oldest event among them when the run looked; @now TIMESTAMP.
--   An older event that came in the meantime is left to the next run: where no tile is
--   looked for, none may be written.
-- Source: stream_events. Writes: stream_features_daily.
-- A tile lists the events that it has counted, so that a second run adds nothing, and one
-- statement changes sums and list together, so that a run can die at any point.
MERGE
  stream_features_daily AS t
USING
  (
    WITH
      received AS (
        SELECT
          *
        FROM
          stream_events
        WHERE
          received_on >= @since_day
          AND received_at >= @since
          AND event_date >= @first_month
          AND
-- include: measured_events.sql
        QUALIFY
          ROW_NUMBER() OVER (
            PARTITION BY use_case, user_id, event_date, event_id
            ORDER BY received_at, message_id
          ) = 1
      ),
      uncounted AS (
        SELECT
          r.*
        FROM
          received AS r
        LEFT JOIN
          stream_features_daily AS d
          ON
            d.use_case = r.use_case
            AND d.user_id = r.user_id
            AND d.day = r.event_date
            AND d.month >= @first_month
        WHERE
          d.user_id IS NULL
          OR r.event_id NOT IN UNNEST(d.event_ids)
      )
    SELECT
      use_case,
      user_id,
      event_date AS day,
-- include: event_sums.sql
      ,
      ARRAY_AGG(event_id) AS event_ids
    FROM
      uncounted
    GROUP BY
      use_case,
      user_id,
      event_date
  ) AS n
ON
  t.use_case = n.use_case
  AND t.user_id = n.user_id
  AND t.day = n.day
  AND t.month >= @first_month
WHEN MATCHED THEN
  UPDATE SET
    purchase_count = t.purchase_count + n.purchase_count,
    purchase_sum = t.purchase_sum + n.purchase_sum,
    purchase_sum_squares = t.purchase_sum_squares + n.purchase_sum_squares,
    bet_count = t.bet_count + n.bet_count,
    bet_sum = t.bet_sum + n.bet_sum,
    bet_sum_squares = t.bet_sum_squares + n.bet_sum_squares,
    win_count = t.win_count + n.win_count,
    win_sum = t.win_sum + n.win_sum,
    win_sum_squares = t.win_sum_squares + n.win_sum_squares,
    registration = IF(
      COALESCE(
        t.registration.registration_time < n.registration.registration_time
        OR (
          t.registration.registration_time = n.registration.registration_time
          AND TO_JSON_STRING(t.registration) <= TO_JSON_STRING(n.registration)
        ),
        n.registration IS NULL
      ),
      t.registration,
      n.registration
    ),
    event_ids = ARRAY_CONCAT(t.event_ids, n.event_ids),
    compacted_at = @now
WHEN NOT MATCHED THEN
  INSERT (
    use_case,
    user_id,
    day,
    month,
    purchase_count,
    purchase_sum,
    purchase_sum_squares,
    bet_count,
    bet_sum,
    bet_sum_squares,
    win_count,
    win_sum,
    win_sum_squares,
    registration,
    event_ids,
    compacted_at
  )
  VALUES (
    n.use_case,
    n.user_id,
    n.day,
    DATE_TRUNC(n.day, MONTH),
    n.purchase_count,
    n.purchase_sum,
    n.purchase_sum_squares,
    n.bet_count,
    n.bet_sum,
    n.bet_sum_squares,
    n.win_count,
    n.win_sum,
    n.win_sum_squares,
    n.registration,
    n.event_ids,
    @now
  )
