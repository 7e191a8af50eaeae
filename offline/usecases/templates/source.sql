LEFT JOIN
  (
    SELECT
      as_of AS snapshot,
      user_id AS member,
      points,
      tier
    FROM
      $name
  ) AS $name
  ON $name.snapshot = as_of AND $name.member = d.user_id
