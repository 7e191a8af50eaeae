-- Part of features.sql: whose days are read. A training that draws its users from keys.sql
-- has drawn_users_of_training.sql in this place.
      TRUE
