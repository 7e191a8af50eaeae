"""
Estimate the monthly bill of a deployment before it exists.

``page``     the estimate, for a person and for a program; begin here
``usage``    what a deployment of a size uses in a month
``lookups``  those from the prediction index
``prices``   list prices of ``offline/prices.toml``, and the charges

Scanned bytes follow from ``offline/statements.toml`` and ``offline/limits.py``, storage
from rows and their retention, computing from the ``deploy.sh`` of each function. Taxes,
discounts, builds, the GA4 export's own storage and data that leave the region are left
out.

Where an estimate has to guess, it guesses high. Google does not document how much of a
clustered table a query for a few users reads: where that matters, two sums are printed.
After the tables it lists default limits that are too low for the size, with new values.
"""
