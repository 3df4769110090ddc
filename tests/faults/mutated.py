"""A pytest plugin: every database of the session has the schema of one mutant."""

import os
from dataclasses import replace

from docmill.worker.admin import schema
from docmill.worker.admin.schema import SqlFile
from tests.faults.mutants import MUTANTS, VARIABLE

_files = schema.sql_files


def _mutated_files(folder: str) -> list[SqlFile]:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == os.environ[VARIABLE])
    return [
        replace(file, text=mutant.apply(file.text))
        if f"{folder}/{file.name}" == mutant.file
        else file
        for file in _files(folder)
    ]


if os.environ.get(VARIABLE):
    schema.sql_files = _mutated_files
