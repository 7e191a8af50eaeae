-- Part of a script: remove the rows of days from the digest.
-- Parameters: @days ARRAY<DATE>; @first_day and @last_day DATE, the first and the last.
DELETE FROM ga_user_days
WHERE
  export_day BETWEEN @first_day AND @last_day
  AND export_day IN UNNEST(@days);

DELETE FROM ga_conversions
WHERE
  export_day BETWEEN @first_day AND @last_day
  AND export_day IN UNNEST(@days);

DELETE FROM ga_refusals
WHERE
  export_day BETWEEN @first_day AND @last_day
  AND export_day IN UNNEST(@days);
