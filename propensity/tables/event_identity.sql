-- Part of a condition: the identity of an event. A user's event id of a day is one event
-- however often it was received, and the row received first is the one that counts.
ROW_NUMBER() OVER (
  PARTITION BY use_case, user_id, event_date, event_id
  ORDER BY received_at, message_id
) = 1
