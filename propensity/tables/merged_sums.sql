-- Part of a select list: the sums of rows that have sums, in a group, and the first of
-- their registrations, as event_sums.sql chooses it.
SUM(purchase_count) AS purchase_count,
SUM(purchase_sum) AS purchase_sum,
SUM(purchase_sum_squares) AS purchase_sum_squares,
SUM(bet_count) AS bet_count,
SUM(bet_sum) AS bet_sum,
SUM(bet_sum_squares) AS bet_sum_squares,
SUM(win_count) AS win_count,
SUM(win_sum) AS win_sum,
SUM(win_sum_squares) AS win_sum_squares,
ARRAY_AGG(
  registration
  IGNORE NULLS
  ORDER BY registration.registration_time, TO_JSON_STRING(registration)
)[SAFE_OFFSET(0)] AS registration
