"""Local mode: emulators, generated data and the demo on one machine.

Read in this order:

    stack/       emulators and functions as processes of 127.0.0.1: up, down, status
    emulators/   BigQuery, Cloud Storage and Pub/Sub, for the unmodified clients
    ground/      BigQuery and a bucket in the process, for tests and ``usecase check``
    generators/  a shop's export, a gaming operator's events, card transactions
    exports/     anybody's rows of a GA4 export, and tables beside it
    demos/       what ``make demo`` plays and prints; ``play.py`` is its command
    receiver.py  a receiver of audiences
    ship_model.py  makes the model that is shipped
    venvs.py     set-up, by uv, and the environment of each function's lock
    processes.py starts and stops processes

An import goes down only: play, demos, stack; then emulators, generators, exports.
"""
