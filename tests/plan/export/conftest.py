"""A plan built from plain numbers: an 8 B Llama on 100 B tokens, laid out on 64 devices."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from export_fixtures import build_plan, load_python

from forescale.plan._values import Plan


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    return build_plan


@pytest.fixture
def linear_plan() -> Plan:
    return build_plan(schedule="linear", final_lr_ratio=0.0)


@pytest.fixture
def cosine_plan() -> Plan:
    return build_plan(schedule="cosine", final_lr_ratio=0.1)


@pytest.fixture
def load() -> Callable[[str], ModuleType]:
    return load_python
