-- How many of the users on a list an export has days of.
-- Parameters: @users ARRAY<STRING>, the ids of the list.
-- Source: ga_user_days, of trial_digest.sql, in the same session.
SELECT COUNT(*) AS users
FROM UNNEST(@users) AS listed
WHERE
  listed IN (SELECT user_pseudo_id FROM ga_user_days)
  OR listed IN (SELECT user_id FROM ga_user_days)
