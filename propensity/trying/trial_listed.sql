-- How many days of users an export has of those on a list.
-- Parameters: @users ARRAY<STRING>, the ids of the list.
-- Source: ga_user_days, of trial_digest.sql, in the same session.
SELECT COUNT(*) AS events
FROM ga_user_days
WHERE user_pseudo_id IN UNNEST(@users) OR user_id IN UNNEST(@users)
