"""Settings of a run: recipe, values and overrides together."""

from __future__ import annotations

import pytest

from archscout.errors import SettingsError
from archscout.pipeline.config import resolve_settings


def test_an_override_without_section_finds_the_methods_settings_then_the_spaces_options() -> None:
    settings = resolve_settings("digits", method="ednas", overrides=["policy.lr=0.5", "nodes=3"])
    assert settings.search.policy.lr == 0.5
    assert settings.space_options.nodes == 3


def test_a_top_level_setting_wins_over_one_of_a_section() -> None:
    assert resolve_settings("digits", method="ednas", overrides=["seed=7"]).seed == 7


def test_an_unknown_key_without_section_is_an_error() -> None:
    with pytest.raises(SettingsError, match="polcy: unknown setting"):
        resolve_settings("digits", method="ednas", overrides=["polcy.lr=0.5"])
