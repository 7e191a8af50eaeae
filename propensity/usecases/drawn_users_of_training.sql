-- Part of features.sql in a training: whose days are read, since a row of theirs is drawn.
      visitor IN (SELECT visitor FROM drawn_visitors)
