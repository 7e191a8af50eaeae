"""
What a deployment costs a month, before there is one.

``page``      the estimate, for a person and for a program; begin here
``usage``     what a deployment of a size uses in a month
``prices``    list prices, from ``offline/prices.toml``, and what is charged by them
``command``   the options of a size, and the command of Python alone
``__main__``  ``python3 -m offline.cost``, where nothing is set up

What is scanned follows from ``deploy/statements.toml`` and ``deploy/limits.py``, what
is stored from rows and their retention, what is computed from
the ``deploy.sh`` of each. Taxes, discounts, builds, the GA4 export's own storage and
data that leave the region are left out.

Every estimate is on the high side where it has to guess. What a query for a few users
reads of a clustered table nobody documents: where that matters, two sums are printed.
After the tables it says which default limits are too low for the size, and what to set.
"""
