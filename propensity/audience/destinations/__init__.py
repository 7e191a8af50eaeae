"""
Receivers of an audience, a module for each kind; begin here for a new one.

- ``destination``: the interface, ``Destination``: it sends a request once
- ``kinds``: which module reads the file of a destination, and opens it
- ``http``: an endpoint over HTTP; ``google``: Analytics, or a customer list of Google
  Ads; ``files``: Parquet and CSV in the bucket
- ``values``: what is sent, filled with the columns of an audience's SQL;
  ``addresses``: e-mail
- ``answers``: what a receiver says, within bounds; ``forms``: whom it rejects
- ``chat``: the chat that gets the weekly message, over the same bounded answers
"""
