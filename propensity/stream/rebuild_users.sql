-- Make the rows of all users anew, from the tiles.
-- Parameters: @first_month DATE, of the oldest tiles that are kept; @now TIMESTAMP.
-- Source: stream_features_daily, without the ids of the events. Writes: stream_users.
BEGIN TRANSACTION;

DELETE FROM
  stream_users
WHERE
  user_bucket >= 0;

INSERT INTO
  stream_users
  (
    use_case,
    user_id,
    user_bucket,
-- include: sums.sql
    ,
    compacted_at
  )
SELECT
  use_case,
  user_id,
-- include: user_bucket.sql
  AS user_bucket,
-- include: merged_sums.sql
  ,
  @now AS compacted_at
FROM
  stream_features_daily
WHERE
  month >= @first_month
GROUP BY
  use_case,
  user_id;

COMMIT TRANSACTION;
