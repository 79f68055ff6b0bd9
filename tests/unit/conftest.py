# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One process for all unit tests, under ansible-test, too."""

from __future__ import annotations

import pytest
from _pytest import runner


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test where its fixtures are.

    ansible-test forks for each test (its ansible_forked.py) and makes all fixtures of a wider scope
    anew in each fork: thousands of times here, which took longer than the tests.
    """
    forks = item.config.pluginmanager.hasplugin("ansible_forked")
    return runner.pytest_runtest_protocol(item, nextitem) if forks else None
