-- Part of a query: the common table ``customers``, one row per as-of date and user whose
-- last purchase that is known lies in the @bought_days before the date.
-- Parameters: @bought_days INT64.
-- Source: the common table of purchase_history.sql.
  customers AS (
    SELECT
      as_of,
      customer AS owner,
      first_days_ago
    FROM purchase_history
    WHERE last_days_ago <= @bought_days
  )
