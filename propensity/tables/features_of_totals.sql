-- Part of a query: one row per user with the columns of the view stream_features.
-- Source: totals, the sums of users.
SELECT
  use_case,
  user_id,
-- include: event_statistics.sql
  ,
  registration.registration_time,
  registration.age,
  registration.city,
  registration.country,
  registration.affiliate_url,
  registration.campaign,
  registration.socioeconomic_idx
FROM totals
