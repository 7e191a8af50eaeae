  -- Of a day one table counts: a property that only streams has no other, a standard
  -- property's daily export stops at a million events a day, and the daily table has
  -- more than all others. So days are left out that a kind before this one has.
  AND CONCAT('2', _TABLE_SUFFIX) NOT IN (
    SELECT SUBSTR(table_name, -8)
    FROM `tables`
    WHERE REGEXP_CONTAINS(table_name, r'^(`earlier_kinds`)2[0-9]{7}$')
  )
