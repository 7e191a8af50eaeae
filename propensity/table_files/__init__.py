"""
The one reader of tables that people bring: bytes to texts, and texts to values.

- ``files``: CSV and Parquet, read whole; begin here
- ``texts``: what the texts of a column mean
- ``ids``: lists of user ids
- ``column``: what a column is that nobody has declared, and its values

It may import the ground alone. Tests: ``tests/propensity/table_files``.
"""
