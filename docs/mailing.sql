-- Addresses of browsers: a browser's newest login says whose it is.
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
  c.email
FROM publication AS p
JOIN logins AS l
  ON l.user_pseudo_id = p.user_id
JOIN crm.customers AS c
  ON CAST(c.customer_id AS STRING) = l.customer_id
WHERE
  c.agreed_to_mail
