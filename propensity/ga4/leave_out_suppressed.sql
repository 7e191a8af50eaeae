-- Take users out of days of the digest.
-- Parameters: @user_ids ARRAY<STRING>, browsers or logins; @first_day and @last_day DATE.
DELETE FROM ga_user_days
WHERE
  export_day BETWEEN @first_day AND @last_day
  AND (user_pseudo_id IN UNNEST(@user_ids) OR user_id IN UNNEST(@user_ids));

DELETE FROM ga_conversions
WHERE
  export_day BETWEEN @first_day AND @last_day
  AND (user_pseudo_id IN UNNEST(@user_ids) OR user_id IN UNNEST(@user_ids));

DELETE FROM ga_refusals
WHERE
  export_day BETWEEN @first_day AND @last_day
  AND (user_pseudo_id IN UNNEST(@user_ids) OR user_id IN UNNEST(@user_ids));
