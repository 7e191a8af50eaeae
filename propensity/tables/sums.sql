-- Part of a list: the columns that event_sums.sql and merged_sums.sql make.
purchase_count,
purchase_sum,
purchase_sum_squares,
bet_count,
bet_sum,
bet_sum_squares,
win_count,
win_sum,
win_sum_squares,
registration
