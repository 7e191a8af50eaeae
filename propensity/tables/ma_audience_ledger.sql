-- View: one row per action and user of a date, and of a removal also per address: what is
-- known of it. What was answered comes before what is pending, an acceptance before a
-- rejection, and what a receiver has said before what it says later; else the newest.
-- Source: ma_audience_requests.
SELECT
  r.use_case,
  r.audience,
  r.as_of,
  r.destination,
  r.action,
  u.user_id,
  u.address,
  r.request,
  r.status,
  r.reason,
  r.may_have_arrived,
  r.receipt,
  r.recorded_at
FROM (
  -- A row for each user must not have all of them.
  SELECT
    *,
    ARRAY_LENGTH(recipients) AS users
  FROM `ma_audience_requests`
) AS r
CROSS JOIN UNNEST(r.recipients) AS u
WHERE TRUE
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY
      r.use_case,
      r.audience,
      r.as_of,
      r.destination,
      r.action,
      u.user_id,
      IF(r.action = 'remove', u.address, NULL)
    ORDER BY
      r.status = 'pending',
      r.status = 'rejected',
      r.receipt IS NULL,
      r.recorded_at DESC,
      -- Of one moment: the reason, and the half of a request.
      r.reason IS NULL,
      r.users
  ) = 1
