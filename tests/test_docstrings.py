"""Every example in a public docstring gives what it says; every public name has a docstring."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import tf_probunet

MODULES = sorted(module.name for module in pkgutil.walk_packages(tf_probunet.__path__, "tf_probunet."))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__, name
    own = [
        value for key, value in vars(module).items()
        if not key.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == name and not (name.startswith("tf_probunet.cli.") and key == "main")
    ]
    assert [value.__qualname__ for value in own if not value.__doc__] == []


def test_some_examples_exist():
    finder = doctest.DocTestFinder(exclude_empty=True)
    with_examples = [
        test.name for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples
    ]
    assert len(with_examples) >= 8
