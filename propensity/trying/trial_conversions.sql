-- How many events of an export are the one that is predicted.
-- Parameters: @label_event STRING.
-- Source: ga_conversions, of trial_digest.sql, in the same session.
SELECT COUNT(*) AS events FROM ga_conversions WHERE event_name = @label_event
