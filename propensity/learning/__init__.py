"""
Learning: from rows to a model, its figures, its card and its page.

Read in this order. Nothing here reads or writes outside the process.

- ``training``: rows of users: split in time, fit, calibrate, choose; the champion gate
- ``event_training``: the same for use cases that score events
- ``evaluation``: metrics with intervals, lift, calibration, difference of two models
- ``modelcard``: what is recorded of a version: row, card, files
- ``description``: a card in words
- ``report``: a card as a page
"""
