-- What Propensity's queries billed in 30 days, by day and account; outside of US replace
-- region-us.
SELECT DATE(creation_time) AS day, user_email, ROUND(SUM(total_bytes_billed) / POW(1024, 4) * 6.25, 2) AS usd
FROM `PROJECT.region-us`.INFORMATION_SCHEMA.JOBS
WHERE creation_time > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 30 DAY)
  AND parent_job_id IS NULL
  AND EXISTS (SELECT 1 FROM UNNEST(labels) AS l WHERE l.key = 'application' AND l.value = 'propensity')
GROUP BY day, user_email
ORDER BY day DESC, usd DESC
