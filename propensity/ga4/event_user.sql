-- Part of a statement: whom an event is of, before browsers are joined to persons. A
-- person's event without a browser, as a server sends it, is the user's.
IF(
  @user_column = 'user_id',
  user_id,
  COALESCE(user_pseudo_id, IF(@user_column = 'person', user_id, NULL))
)
