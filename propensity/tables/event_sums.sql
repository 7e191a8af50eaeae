-- Part of a select list: sums of purchases, bets and wins, and the first registration,
-- of the rows of stream_events in a group. Of two registrations at one moment the one
-- whose text comes first is taken, here and wherever sums are merged. (LIMIT 1 is left
-- out for the emulator, which would take it before it ignores nulls.)
COUNTIF(event_type = 'new_purchases') AS purchase_count,
COALESCE(SUM(IF(event_type = 'new_purchases', amount, NULL)), 0) AS purchase_sum,
COALESCE(SUM(IF(event_type = 'new_purchases', amount * amount, NULL)), 0) AS purchase_sum_squares,
COUNTIF(event_type = 'new_bet') AS bet_count,
COALESCE(SUM(IF(event_type = 'new_bet', amount, NULL)), 0) AS bet_sum,
COALESCE(SUM(IF(event_type = 'new_bet', amount * amount, NULL)), 0) AS bet_sum_squares,
COUNTIF(event_type = 'new_win') AS win_count,
COALESCE(SUM(IF(event_type = 'new_win', amount, NULL)), 0) AS win_sum,
COALESCE(SUM(IF(event_type = 'new_win', amount * amount, NULL)), 0) AS win_sum_squares,
ARRAY_AGG(
  IF(
    event_type = 'new_registration',
    STRUCT(
      event_time AS registration_time,
      age AS age,
      city AS city,
      country AS country,
      affiliate_url AS affiliate_url,
      campaign AS campaign,
      socioeconomic_idx AS socioeconomic_idx
    ),
    NULL
  )
  IGNORE NULLS
  ORDER BY
    event_time,
    TO_JSON_STRING(STRUCT(
      age AS age,
      city AS city,
      country AS country,
      affiliate_url AS affiliate_url,
      campaign AS campaign,
      socioeconomic_idx AS socioeconomic_idx
    ))
)[SAFE_OFFSET(0)] AS registration
