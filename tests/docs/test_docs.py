"""The documentation covers the package: a page for every module and law, and no link to a file that is not there."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

import forescale
from forescale.laws import law, names

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = Path(forescale.__file__).parent
# The command line is documented by its commands, below.
UNDOCUMENTED = {"forescale.cli"}


def hook(name: str) -> ModuleType:
    spec = spec_from_file_location(f"hook_{name}", DOCS / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public_modules() -> list[str]:
    relative = (p.relative_to(PACKAGE.parent).with_suffix("") for p in PACKAGE.rglob("*.py"))
    dotted = {".".join(r.parts).removesuffix(".__init__") for r in relative}
    return sorted(m for m in dotted if "._" not in m and m not in UNDOCUMENTED)


GENERATED: dict[str, str] = {**hook("laws").pages(), hook("commands").PAGE: hook("commands").page()}
PAGES = {p.relative_to(DOCS).as_posix(): p.read_text(encoding="utf-8") for p in DOCS.rglob("*.md")} | GENERATED


@pytest.mark.parametrize("module", public_modules())
def test_a_public_module_has_a_reference_page(module: str) -> None:
    pages = [page for page, text in PAGES.items() if re.search(rf"^::: {re.escape(module)}$", text, re.M)]
    assert len(pages) == 1
    assert pages[0].startswith("reference/")


@pytest.mark.parametrize("module", public_modules())
def test_a_public_name_exists_and_says_what_it_is(module: str) -> None:
    loaded = import_module(module)
    for name in getattr(loaded, "__all__", ()):
        value = getattr(loaded, name)
        if callable(value):
            assert value.__doc__, f"{module}.{name} has no docstring"
            assert not value.__doc__.startswith(f"{name}("), f"{module}.{name} has only a generated docstring"


def test_the_front_page_of_the_reference_names_every_top_level_name() -> None:
    links = re.findall(r"\]\[forescale(?:\.\w+)*\.(\w+)\]", PAGES["reference/forescale.md"])
    assert sorted(links) == sorted(forescale.__all__)


@pytest.mark.parametrize("name", names())
def test_a_law_has_a_page_with_its_formulas_and_source(name: str) -> None:
    one, text = law(name), GENERATED[f"laws/{name}.md"]
    assert text.startswith(f"# {one.title}\n")
    assert f"]({name}.md)" in GENERATED["laws/index.md"]
    assert one.source.paper in text
    assert one.source.reference in text
    for quantity, formula in one.predicts.items():
        assert f"{quantity} = {formula.text()}" in text
    for word in (w for formula in one.predicts.values() for w in formula.unverified):
        assert f"`{word}`" in text


def test_every_command_is_documented() -> None:
    from forescale.cli._app import app

    commands = {name for name in app() if not name.startswith("-")}
    assert commands == set(hook("commands").COMMANDS)


@pytest.mark.parametrize("path", [*sorted(p.name for p in ROOT.glob("*.md")), *(f"docs/{page}" for page in PAGES)])
def test_relative_links_lead_somewhere(path: str) -> None:
    text = PAGES.get(path.removeprefix("docs/")) or (ROOT / path).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", text, flags=re.S)):
        if "://" not in target and not target.startswith("mailto:"):
            file = ((ROOT / path).parent / target).resolve()
            generated = file.is_relative_to(DOCS) and file.relative_to(DOCS).as_posix() in GENERATED
            assert generated or file.exists(), f"{path} links to {target}"


def test_a_page_that_loads_from_another_host_is_found() -> None:
    remote_assets = hook("offline").remote_assets
    assert remote_assets('<script src="https://cdn.example/x.js"></script>') == ["https://cdn.example/x.js"]
    assert remote_assets('<link rel="stylesheet" href="//fonts.example/a.css">') == ["//fonts.example/a.css"]
    assert remote_assets('<a href="https://arxiv.org/abs/1"></a><script src="assets/a.js"></script>') == []
