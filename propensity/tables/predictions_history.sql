-- View: one row per user and as-of date, as the newest publication of the date has it.
-- Source: ma_predictions_runs, whose rows of other runs were never published or were
--   replaced; ma_publications.
-- Users who share a probability share the lowest percentile of them, so that no more
-- than a tenth of the users are above 90.
-- The means of the deciles rise with them, so that a user's own is the greatest of those
-- that begin at the user's value or below.
SELECT
  r.use_case,
  r.user_id,
  r.as_of,
  r.probability,
  GREATEST(
    1,
    (SELECT COUNTIF(quantile < r.probability) FROM UNNEST(p.quantiles) AS quantile)
  ) AS percentile,
  p.model_version,
  p.scored_at,
  p.data_until,
  p.log_odds_shift,
  r.expected_value,
  (
    SELECT MAX(d.mean)
    FROM UNNEST(p.value_deciles) AS d
    WHERE d.least <= r.expected_value
  ) AS decile_value,
  r.categories,
  r.effects
FROM `ma_predictions_runs` AS r
INNER JOIN `ma_publications` AS p
  ON p.use_case = r.use_case AND p.as_of = r.as_of AND p.run_id = r.run_id
WHERE
  -- The table asks for a filter on its days; a query of the view sets it.
  r.as_of >= DATE '1970-01-01'
