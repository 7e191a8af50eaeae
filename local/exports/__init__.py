"""Exports that others have made, as daily tables of the GA4 export.

ga4_schema.py     its columns
ga4_rows.py       anybody's rows, read and fitted
ga4_export.py     loads them, day by day; start here
online_retail.py  a public data set, downloaded and told as GA4 events
"""
