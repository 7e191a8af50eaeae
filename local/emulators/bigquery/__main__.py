"""Run the emulator: ``python -m local.emulators.bigquery``."""

from local.emulators.bigquery.server import main

main()
