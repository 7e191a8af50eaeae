-- One row per user with a prediction. Who is no customer, or never logged in, is known by
-- the browser alone.
-- Sources: publication, ga_user_days, crm.customers.
WITH
  logins AS (
    SELECT
      user_pseudo_id,
      MAX_BY(user_id, last_event) AS customer_id
    FROM ga_user_days
    WHERE
      export_day BETWEEN @first_history_day AND @last_export_day
      AND user_id IS NOT NULL
    GROUP BY user_pseudo_id
  )
SELECT
  p.user_id,
  COALESCE(c.email, p.user_id) AS email
FROM publication AS p
LEFT JOIN logins AS l
  ON l.user_pseudo_id = p.user_id
LEFT JOIN crm.customers AS c
  ON c.customer_id = l.customer_id
