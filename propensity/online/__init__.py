"""
02-GetProba: what is answered by HTTP.

- ``lookup``: a user's published probability, from the predictions table
- ``score``: features or a user scored now, by the champion
- ``instances``: what a request to score asks, and what is answered and logged
"""
