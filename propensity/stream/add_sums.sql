-- Part of an update: sums of the target t and of the source n together, and the first of
-- their registrations, as event_sums.sql and merged_sums.sql choose it.
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
)
