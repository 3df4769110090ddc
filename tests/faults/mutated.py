"""A pytest plugin: the databases, or the worker's modules, of the session are those of a mutant."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.faults.mutants import VARIABLE, Mutant, mutant_named, mutate_module

if TYPE_CHECKING:
    from docmill.worker.admin.schema import SqlFile


def _mutate_schema(mutant: Mutant) -> None:
    from docmill.worker.admin import schema

    files = schema.sql_files

    def mutated_files(folder: str) -> "list[SqlFile]":
        return [
            replace(file, text=mutant.apply(file.text))
            if f"{folder}/{file.name}" == mutant.file
            else file
            for file in files(folder)
        ]

    schema.sql_files = mutated_files


if name := os.environ.get(VARIABLE):
    chosen = mutant_named(name)
    if chosen.file.endswith(".sql"):
        _mutate_schema(chosen)
    else:
        # Nothing of docmill is imported so far; the zygote of the tests does the same.
        mutate_module(name)
