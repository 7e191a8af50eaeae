"""Run the Pub/Sub emulator: ``python -m local.emulators.pubsub --port 8093``."""

from local.emulators.pubsub.server import main

main()
