-- Part of a statement: whom an event is of, as of the date of its row of persons.sql. With
-- a browser that was not seen before the date an event is of its own user.
CASE
  WHEN @user_column = 'user_id' THEN user_id
  WHEN @user_column = 'person' AND browser IS NULL
    THEN COALESCE(user_id, user_pseudo_id)
  ELSE COALESCE(person, user_pseudo_id)
END
