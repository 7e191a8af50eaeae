-- Part of a condition: events that event_sums.sql adds up. All others leave every
-- feature as it is, and a tile of them would be a row that says nothing.
event_type IN ('new_registration', 'new_purchases', 'new_bet', 'new_win')
