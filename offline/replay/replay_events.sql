-- One row per event of a period, each once, in the order in which they happened.
-- Parameters: @since, @until TIMESTAMP, from the first up to the second; @earliest DATE,
--   the first day on which such an event can have been received; @use_case, @user_id
--   STRING, empty for all.
-- Source: stream_events.
SELECT
  use_case,
  event_id,
  user_id,
  event_type,
  event_time,
  amount,
  age,
  city,
  country,
  postcode,
  affiliate_url,
  campaign,
  socioeconomic_idx,
  label,
  attributes
FROM
  stream_events
WHERE
  received_on >= @earliest
  AND event_time >= @since
  AND event_time < @until
  AND (@use_case = '' OR use_case = @use_case)
  AND (@user_id = '' OR user_id = @user_id)
QUALIFY
-- include: event_identity.sql
ORDER BY
  event_time,
  use_case,
  user_id,
  event_id
