"""
The commands of this machine, specified where they say which local state they mean.
"""

from __future__ import annotations

import pytest

from commands.machine import state_up
from propensity.errors import RequestError


class TestStateUp:
    def test_is_the_one_that_is_named(self):
        """Others may be up: the message is about this one."""
        with pytest.raises(RequestError, match="local state nobody-has-this is not up"):
            state_up("nobody-has-this")
