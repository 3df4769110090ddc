"""unstructured's partitioners without changes, timed: the other side of `extract.py`.

A separate program for any Python that has unstructured; it needs nothing else of docmill. Each line
on stdin names a partitioner and a file; each line on stdout has the seconds of CPU time and the
number of elements. Languages are not detected, and sentences are split by punctuation, as in
docmill, because the model is not on PyPI.
"""

import contextlib
import importlib.abc
import importlib.util
import json
import os
import sys
import time
import types
from importlib.machinery import ModuleSpec
from typing import Any

#: unstructured_inference imports these gigabytes, but partition_pdf does not need them for "fast":
#: they may be missing.
NOT_NEEDED = ("torch", "torchvision", "transformers", "timm", "accelerate")


class _AnyClass(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything


class _Anything(metaclass=_AnyClass):
    """Stands for any part of a missing module: a base class, a decorator, a constant."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **_: Any) -> Any:
        return arguments[0] if arguments and callable(arguments[0]) else _Anything()


class _EmptyModule(types.ModuleType):
    __path__: list[str] = []  # noqa: RUF012 -- a module's, not an instance's

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything


class _Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names: set[str]) -> None:
        self._names = names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname.split(".", maxsplit=1)[0] not in self._names:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _EmptyModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def prepare() -> None:
    """Split sentences by punctuation, and replace missing modules."""
    import spacy  # first, because it looks for torch itself
    import unstructured.nlp.tokenize

    language = spacy.blank("en")
    language.add_pipe("sentencizer")
    unstructured.nlp.tokenize._get_nlp = lambda: language  # type: ignore[assignment]
    missing = {name for name in NOT_NEEDED if importlib.util.find_spec(name) is None}
    sys.meta_path.insert(0, _Stubs(missing))


def partitioner(kind: str) -> Any:
    """A partitioner of unstructured, and its arguments beside the file."""
    module = importlib.import_module(f"unstructured.partition.{kind}")
    return getattr(module, f"partition_{kind}")


def answer(request: dict[str, str]) -> dict[str, Any]:
    """Partition one file."""
    partition = partitioner(request["kind"])
    options = {"strategy": "fast"} if request["kind"] == "pdf" else {}
    began = time.process_time()
    elements = partition(filename=request["path"], languages=[""], **options)
    return {"seconds": time.process_time() - began, "elements": len(elements)}


def main() -> None:
    """Answer until stdin ends."""
    os.environ.setdefault("UNSTRUCTURED_DISABLE_NOTICE", "1")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        prepare()
        for line in sys.stdin:
            try:
                said = answer(json.loads(line))
            except Exception as error:
                said = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main()
