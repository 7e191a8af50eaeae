"""Tables of the user's own: a GA4 export, and sources of features beside it.

ga4_export.py  reads an export from files, rejects other files, loads it day by day
ga4_schema.py  the export's columns
sources.py     a table of events of the user's own, and a folder of Parquet or CSV, by
               the names of a use case's sources
"""
