"""Backbones that tests share; none changes one."""

import pytest

from dkvb.backbones import Backbone, BackboneSpec, load_backbone
from tests.dkvb.models import timm_spec


@pytest.fixture(scope="session")
def lite0() -> Backbone:
    return load_backbone(BackboneSpec(library="efficientnet-lite", name="lite0"))


@pytest.fixture(scope="session")
def resnet18() -> Backbone:
    return load_backbone(timm_spec(), seed=3)
