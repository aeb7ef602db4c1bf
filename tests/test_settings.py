"""Settings: all problems at once, with their key and the closest known name."""

from __future__ import annotations

from pathlib import Path

import pytest

from archscout.errors import SettingsError, UnknownNameError
from archscout.pipeline.config import resolve_settings
from archscout.recipes import load_recipe, recipe_names
from archscout.settings import apply_overrides, merge, parse_override


def test_all_problems_are_reported_together() -> None:
    wrong = ["train.epochz=3", "search.child.batch_size=two", "supernet.layers=0", "sead=1"]
    with pytest.raises(SettingsError) as error:
        resolve_settings("digits", overrides=wrong)
    text = str(error.value)
    assert "4 settings are wrong" in text
    assert "train.epochz: unknown setting; did you mean epochs or " in text
    assert "search.child.batch_size = 'two'" in text
    assert "supernet.layers = 0" in text
    assert "sead: unknown setting; did you mean seed" in text


def test_unknown_method_and_recipe_name_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean ednas"):
        resolve_settings("digits", method="ednass")
    with pytest.raises(UnknownNameError, match="ednas/cifar10"):
        resolve_settings("digits", recipe="ednas/cifar")


def test_a_section_given_in_part_keeps_its_methods_defaults_for_the_rest() -> None:
    given = resolve_settings("digits", method="fairdarts", recipe="fairdarts/digits", overrides=["alphas.lr=0.5"])
    assert (given.search.alphas.lr, given.search.alphas.betas) == (0.5, (0.9, 0.999))
    nested = resolve_settings("cifar10", method="ddarts", overrides=["search.optimizer.schedule.kind=constant"])
    assert nested.search.optimizer.schedule.kind == "constant"
    assert (nested.search.optimizer.lr, nested.search.optimizer.schedule.lr_min) == (0.005, 0.001)


def test_a_recipe_of_another_method_is_refused() -> None:
    with pytest.raises(SettingsError, match="Leave one of the two out"):
        resolve_settings("digits", method="random", recipe="ednas/digits")


def test_overrides_win_over_values_over_the_recipe() -> None:
    settings = resolve_settings("digits", values={"seed": 3, "device": None}, overrides=["seed=4", "train.epochs=7"])
    assert settings.seed == 4
    assert settings.device == "auto"
    assert settings.train.epochs == 7


def test_override_values_are_yaml() -> None:
    assert parse_override("a.b=[1, 2]") == (["a", "b"], [1, 2])
    assert parse_override("a=null") == (["a"], None)
    assert apply_overrides({"a": {"b": 1, "c": 2}}, ["a.b=3"]) == {"a": {"b": 3, "c": 2}}
    for text in ("a", "=1", "a..b=1"):
        with pytest.raises(SettingsError, match="is not an override"):
            parse_override(text)


def test_a_python_object_in_yaml_is_refused() -> None:
    with pytest.raises(SettingsError, match="not plain YAML"):
        parse_override("a=!!python/object/apply:os.system [ls]")


def test_merge_keeps_both_sides() -> None:
    assert merge({"a": {"x": 1}, "b": 1}, {"a": {"y": 2}, "b": {"z": 1}}) == {"a": {"x": 1, "y": 2}, "b": {"z": 1}}


def test_own_recipe_file_extends_a_packaged_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: ednas/digits\nsearch: {epochs: 3}\n")
    settings = resolve_settings("digits", recipe=str(file))
    assert settings.search.epochs == 3
    assert (
        settings.search.policy.architectures_per_step
        == load_recipe("ednas/digits")["search"]["policy"]["architectures_per_step"]
    )


def test_a_recipe_that_extends_itself_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "loop.yaml"
    file.write_text(f"extends: {file}\n")
    with pytest.raises(SettingsError, match="extends itself"):
        resolve_settings("digits", recipe=str(file))


@pytest.mark.parametrize("content", ["- a list", "a: [", "\x00"])
def test_a_broken_recipe_file_is_one_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=r"broken\.yaml"):
        resolve_settings("digits", recipe=str(file))


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_resolves(name: str) -> None:
    values = load_recipe(name)
    settings = resolve_settings(values.get("task", "digits"), recipe=name)
    assert settings.method == values.get("method", "ednas")


def test_a_setting_in_the_wrong_section_is_found_in_the_right_one() -> None:
    with pytest.raises(SettingsError, match=r"train\.loss: unknown setting; did you mean task_options\.loss\?"):
        resolve_settings("digits", overrides=["train.loss=focal"])
