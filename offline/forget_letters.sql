-- One row per dead letter, however old, with all that may name a user.
SELECT
  message_id,
  raw,
  attributes
FROM dead_letters
WHERE received_on >= DATE '1970-01-01'
