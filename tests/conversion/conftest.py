"""The checks that several files of tests share say what they compared, as tests do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.conversion.outputs", "tests.conversion.stopped")
