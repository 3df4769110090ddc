"""The mutants of the schema and of the worker can still be made; `make mutants` kills them."""

import ast
from pathlib import Path

import pytest

from docmill.worker.admin.schema import sql_files
from tests.faults.mutants import MUTANTS, Mutant

TESTS = Path(__file__).parents[1]


def text_of(mutant: Mutant) -> str:
    if mutant.file.endswith(".py"):
        return (TESTS.parent / mutant.file).read_text()
    folder, name = mutant.file.split("/")
    (text,) = (file.text for file in sql_files(folder) if file.name == name)
    return text


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_guard_is_in_the_code_and_its_test_exists(mutant: Mutant) -> None:
    text = text_of(mutant)
    assert mutant.apply(text) != text
    path, *_, test = mutant.test.split("::")
    tree = ast.parse((TESTS / path).read_text())
    assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
