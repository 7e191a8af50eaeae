LEFT JOIN
  (
    SELECT
      as_of AS known_on,
      user_id AS member,
      points,
      tier
    FROM $name
  ) AS $name
  ON $name.known_on = as_of AND $name.member = $user
