-- Count what was received in a period and is not counted yet: in the tiles, and in the
-- rows of their users. Returns one row: how many tiles were written.
-- Parameters: @since, @until TIMESTAMP, from the first up to the second; @since_day,
--   @until_day DATE, their days; @months ARRAY<DATE>, first days of the months of the
--   events; @now TIMESTAMP.
--   An event of another month that came in the meantime is left to the next run: where no
--   tile is looked for, none may be written.
-- Source: stream_events. Writes: stream_features_daily, stream_users.
-- A tile lists the events that it has counted, so that a second run adds nothing; tiles
-- and users change together or not at all, so that a run can die at any point. Months are
-- constants: BigQuery reads the tiles of these and of no other.
BEGIN TRANSACTION;

CREATE TEMP TABLE counted AS
WITH
  received AS (
    SELECT
      *
    FROM
      stream_events
    WHERE
      received_on >= @since_day
      AND received_on <= @until_day
      AND received_at >= @since
      AND received_at < @until
      AND DATE_TRUNC(event_date, MONTH) IN UNNEST(@months)
      AND
-- include: measured_events.sql
    QUALIFY
-- include: event_identity.sql
  ),
  tiles AS (
    SELECT
      use_case,
      user_id,
      day,
      event_ids
    FROM
      stream_features_daily
    WHERE
      month IN UNNEST(@months)
  ),
-- include: uncounted_events.sql
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
  event_date;

MERGE
  stream_features_daily AS t
USING
  (
    SELECT
      *
    FROM
      counted
  ) AS n
ON
  t.use_case = n.use_case
  AND t.user_id = n.user_id
  AND t.day = n.day
  AND t.month IN UNNEST(@months)
WHEN MATCHED THEN
  UPDATE SET
-- include: add_sums.sql
    ,
    event_ids = ARRAY_CONCAT(t.event_ids, n.event_ids),
    compacted_at = @now
WHEN NOT MATCHED THEN
  INSERT (
    use_case,
    user_id,
    day,
    month,
-- include: sums.sql
    ,
    event_ids,
    compacted_at
  )
  VALUES (
    use_case,
    user_id,
    day,
    DATE_TRUNC(day, MONTH),
-- include: sums.sql
    ,
    event_ids,
    @now
  );

MERGE
  stream_users AS t
USING
  (
    SELECT
      use_case,
      user_id,
-- include: user_bucket.sql
      AS user_bucket,
-- include: merged_sums.sql
    FROM
      counted
    GROUP BY
      use_case,
      user_id
  ) AS n
ON
  t.user_bucket = n.user_bucket
  AND t.use_case = n.use_case
  AND t.user_id = n.user_id
WHEN MATCHED THEN
  UPDATE SET
-- include: add_sums.sql
    ,
    compacted_at = @now
WHEN NOT MATCHED THEN
  INSERT (
    use_case,
    user_id,
    user_bucket,
-- include: sums.sql
    ,
    compacted_at
  )
  VALUES (
    use_case,
    user_id,
    user_bucket,
-- include: sums.sql
    ,
    @now
  );

COMMIT TRANSACTION;

SELECT
  COUNT(*) AS tiles
FROM
  counted
