"""Tables of the user's own: a GA4 export, and sources of features beside it.

ga4_export.py  loads an export, day by day; start here
ga4_rows.py    reads rows from files, and refuses what is no export
ga4_schema.py  the export's columns
sources.py     a folder of Parquet or CSV, by the names of a use case's sources
"""
