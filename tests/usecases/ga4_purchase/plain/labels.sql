-- One row per user who converted and as-of date; all others of the cohort have label 0.
-- Source: view ga_events, as of a statement that knows no digest.
WITH
-- include: label_transactions.sql
SELECT DISTINCT as_of, user_id
FROM transactions
