"""The mutants of the schema can still be made; `make mutants` kills them."""

import ast
from pathlib import Path

import pytest

from docmill.worker.admin.schema import sql_files
from tests.faults.mutants import MUTANTS, Mutant

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_guard_is_in_the_schema_and_its_test_exists(mutant: Mutant) -> None:
    folder, name = mutant.file.split("/")
    (text,) = (file.text for file in sql_files(folder) if file.name == name)
    assert mutant.apply(text) != text
    path, *_, test = mutant.test.split("::")
    tree = ast.parse((TESTS / path).read_text())
    assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
