"""When a schedule was last due, specified: in its own time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from deploy import functions
from offline.doctor.leases import last_due
from tests.offline.doctor.conftest import NOW


class TestSchedules:
    @pytest.mark.parametrize(
        ("cron", "zone", "due"),
        [
            ("0 8 1 * *", "Etc/UTC", datetime(2026, 3, 1, 8, tzinfo=UTC)),
            ("0 15 * * 1", "Etc/UTC", datetime(2026, 3, 2, 15, tzinfo=UTC)),
            ("30 1 * * *", "Etc/UTC", datetime(2026, 3, 4, 1, 30, tzinfo=UTC)),
            ("30 12 * * *", "Etc/UTC", datetime(2026, 3, 3, 12, 30, tzinfo=UTC)),
            ("0 21 * * *", "Asia/Tokyo", datetime(2026, 3, 4, 12, tzinfo=UTC)),
            ("0 15 * * 0", "Etc/UTC", datetime(2026, 3, 1, 15, tzinfo=UTC)),
        ],
    )
    def test_came_due_last(self, cron, zone, due):
        """By the schedule's own clock, and never after now."""
        last = last_due(cron, NOW, ZoneInfo(zone))

        assert last.astimezone(UTC) == due

    def test_of_every_function_can_be_told(self):
        """What functions.toml says is of the form that is understood."""
        for function in functions.load():
            if function.schedule:
                assert last_due(function.schedule.cron, NOW, ZoneInfo("UTC")) <= NOW

    def test_of_another_form_is_refused(self):
        """A schedule that is not understood is no reason to say that all is well."""
        with pytest.raises(ValueError, match="schedule"):
            last_due("*/5 * * * *", NOW, ZoneInfo("UTC"))
