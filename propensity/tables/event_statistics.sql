-- Part of a select list: the twelve features of exact sums.
-- A mean or variance (sample, n - 1) is the exact rational, rounded once, half away from
-- zero, to nine decimals. 29 digits before the point hold n * sum of squares for 300,000
-- amounts of 1e9, or for 300 million of 1e6; beyond, the variance is null.
purchase_sum,
purchase_sum / NULLIF(purchase_count, 0) AS purchase_mean,
purchase_count,
(
  SAFE_MULTIPLY(purchase_count, purchase_sum_squares) - SAFE_MULTIPLY(purchase_sum, purchase_sum)
)
/ NULLIF(purchase_count * (purchase_count - 1), 0) AS purchase_var,
bet_sum,
bet_sum / NULLIF(bet_count, 0) AS bet_mean,
bet_count,
(
  SAFE_MULTIPLY(bet_count, bet_sum_squares) - SAFE_MULTIPLY(bet_sum, bet_sum)
)
/ NULLIF(bet_count * (bet_count - 1), 0) AS bet_var,
win_sum,
win_sum / NULLIF(win_count, 0) AS win_mean,
win_count,
(
  SAFE_MULTIPLY(win_count, win_sum_squares) - SAFE_MULTIPLY(win_sum, win_sum)
)
/ NULLIF(win_count * (win_count - 1), 0) AS win_var
