-- GA4's own prediction of each user, as a source of features.
CREATE VIEW `my-project.analytics_123456.ga4_predictions` AS
SELECT
  pseudo_user_id AS user_pseudo_id,
  -- The last moment of the table's day, in the property's time zone.
  TIMESTAMP_SUB(
    TIMESTAMP(DATE_ADD(PARSE_DATE('%Y%m%d', _TABLE_SUFFIX), INTERVAL 1 DAY), 'Europe/Amsterdam'),
    INTERVAL 1 MICROSECOND
  ) AS known_at,
  predictions.purchase_score_7d
FROM
  `my-project.analytics_123456.pseudonymous_users_*`
