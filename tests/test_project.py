"""What is said of the project in several places is the same in all: steps, versions, pins, addresses."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pages
import pytest

import simkit
from simkit.page.citation import citations

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
POSIX = pytest.mark.skipif(os.name != "posix", reason="runs .ci/run, a script for bash")


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def read_yaml(path):
    return pytest.importorskip("yaml").safe_load((ROOT / path).read_text(encoding="utf-8"))


def steps():
    return re.search(r"^STEPS=\((.*)\)$", text_of(".ci/run"), flags=re.MULTILINE)[1].split()


# --- the steps of continuous integration ----------------------------------------------------------------------------------


def test_steps_are_the_same_everywhere():
    script = text_of(".ci/run")
    assert all(f"\n{step}() {{\n" in script for step in steps())
    assert re.search(r"^STEPS := (.*)$", text_of("Makefile"), flags=re.MULTILINE)[1].split() == steps()
    assert re.findall(r"^\| `(\w+)` \|", text_of("CONTRIBUTING.md"), flags=re.MULTILINE) == steps()


def test_each_step_is_in_a_workflow():
    called = re.findall(r"run: bash \.ci/run (.*)", text_of(".github/workflows/ci.yml"))
    assert sorted(step for line in called for step in line.split()) == sorted(set(steps()) - {"environment"})


def run(*arguments):
    return subprocess.run(["bash", ".ci/run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@POSIX
def test_steps_are_listed_and_unknown_ones_refused():
    assert run("--list").stdout.split() == steps()
    done = run("lint", "tpyes")
    assert done.returncode == 2
    assert "There is no step 'tpyes'. Steps: environment lint" in done.stderr
    assert not done.stdout  # nothing has begun


@POSIX
def test_a_step_that_fails_is_named(tmp_path):
    """By the script itself, with a step that fails in its first command and would succeed in its last."""
    folder = tmp_path / ".ci"
    folder.mkdir()
    script = text_of(".ci/run").replace("\nlint() {\n", "\nlint() {\n    false\n    true\n}\nother() {\n")
    (folder / "run").write_text(script, encoding="utf-8")
    done = subprocess.run(["bash", folder / "run", "lint"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "== FAILED: step 'lint' (status 1). Once more, alone: bash .ci/run lint"
    assert "took" not in done.stdout


# --- workflows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_with_their_version(path):
    uses = re.findall(r"uses: *(.*)", path.read_text(encoding="utf-8"))
    assert uses
    for line in uses:
        assert re.fullmatch(r"[\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_an_action_has_one_version_in_all_workflows():
    pins = {line for path in WORKFLOWS for line in re.findall(r"uses: *(.*)", path.read_text(encoding="utf-8"))}
    names = [pin.split("@")[0] for pin in pins]
    assert len(names) == len(set(names)), sorted(pins)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_have_few_rights_and_an_end(path):
    workflow = read_yaml(path.relative_to(ROOT))
    assert workflow["permissions"] in ({}, {"contents": "read"})
    assert "concurrency" in workflow
    for name, job in workflow["jobs"].items():
        assert job.get("timeout-minutes", 999) <= 60, name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name


def test_what_a_branch_waits_for_are_all_jobs():
    jobs = read_yaml(".github/workflows/ci.yml")["jobs"]
    last = jobs["passed"]
    assert set(last["needs"]) == set(jobs) - {"passed"}
    assert re.search(r"= ([a-z,]+)$", last["steps"][0]["run"])[1].split(",") == ["success"] * len(last["needs"])


def test_workflows_run_each_python_of_the_classifiers():
    python = read_yaml(".github/workflows/ci.yml")["jobs"]["linux"]["strategy"]["matrix"]["python"]
    declared = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert python == declared
    assert PROJECT["requires-python"] == f">={python[0]}"


# --- pins, versions, addresses --------------------------------------------------------------------------------------------


def test_hooks_are_of_the_versions_that_are_tested():
    pinned = {line for line in PROJECT["optional-dependencies"]["test"] if "==" in line}
    for hook in read_yaml(".pre-commit-config.yaml")["repos"][0]["hooks"]:
        (needed,) = hook["additional_dependencies"]
        assert needed in pinned or needed.startswith("pre-commit-hooks=="), needed


def test_the_citation_is_of_this_version_and_that_of_reports():
    cited = read_yaml("CITATION.cff")
    assert cited["version"] == PROJECT["version"] == simkit.__version__
    assert cited["license"] == PROJECT["license"]
    (author,) = cited["authors"]
    entry, paper = citations(["cka"]).split("\n\n")[:2]
    assert f"title = {{{cited['title']}}}" in entry
    assert f"author = {{{{{author['name']}}}}}" in entry
    (source,) = cited["references"]
    assert f"title = {{{source['title']}}}" in paper
    assert " and ".join(f"{a['family-names']}, {a['given-names']}" for a in source["authors"]) in paper
    assert f"pages = {{{source['start']}--{source['end']}}}" in paper
    assert f"year = {{{source['year']}}}" in paper


def test_addresses_are_those_of_pyproject():
    repository = PROJECT["urls"]["Repository"]
    assert read_yaml("CITATION.cff")["repository-code"] == repository
    for link in read_yaml(".github/ISSUE_TEMPLATE/config.yml")["contact_links"]:
        assert link["url"].startswith(f"{repository}/")


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem)
def test_forms_ask_for_what_is_needed(path):
    form = read_yaml(path.relative_to(ROOT))
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {"name", "description", "labels"} <= form.keys()
    assert len({field["id"] for field in fields}) == len(fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


# --- pages for contributors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["CONTRIBUTING.md", "SECURITY.md"])
def test_files_and_tests_that_are_named_exist(path):
    text = text_of(path)
    for name in re.findall(r"`((?:tests|docs|simkit|benchmarks|plugins|\.ci)/[\w./-]+)`", text):
        assert "NAME" in name or (ROOT / name).exists(), name
    for name in re.findall(r"`(\w+\.py)`", text):
        assert [*(ROOT / "simkit").rglob(name)], name
    for file, test in re.findall(r"(tests/\w+\.py)::(\w+)", text):
        assert f"def {test}(" in text_of(file), test


def test_the_example_of_a_test_of_mathematics_passes():
    (example,) = [block for block in pages.python_in(text_of("CONTRIBUTING.md")) if "expected" in block]
    space = {"np": np, "simkit": simkit, "pytest": pytest}
    pages.run(example, space)
    space["test_linear_cka_is_its_definition"]()


def test_the_example_of_an_error_is_one():
    (quoted,) = re.findall(r"^> (.*\n> .*)\n", text_of("CONTRIBUTING.md"), re.MULTILINE)
    with pytest.raises(simkit.errors.InvalidArrayError) as caught:
        simkit.compare(np.ones((500, 3)), np.ones((499, 3)))
    assert str(caught.value) == quoted.replace("\n> ", " ")
