"""Whether a value fits a JSON Schema, draft 2020-12. Nothing is fetched for it: a reference leads to a part of the schema itself."""

from __future__ import annotations

from typing import Any

from bench.core.errors import BenchError


def fits(schema: object, value: Any) -> bool:
    """Whether a value fits a schema; one too deeply nested to tell does not.

    Raises ValueError for what is no schema, and for a reference out of it that the value leads to. Raises BenchError without jsonschema.
    """
    try:
        from jsonschema import Draft202012Validator, SchemaError
        from jsonschema_specifications import REGISTRY
        from referencing.exceptions import Unresolvable
    except ImportError as e:
        raise BenchError("judging JSON needs jsonschema; install it with pip install 'dynamicgate-bench[tasks]'") from e
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as e:
        raise ValueError(f"is no JSON Schema ({e.message})") from e
    except RecursionError as e:
        raise ValueError("is no JSON Schema that can be read (it is nested too deeply)") from e
    try:
        # with a registry of its own it does not ask the network for what a reference names
        return bool(Draft202012Validator(schema, registry=REGISTRY).is_valid(value))
    except Unresolvable as e:
        raise ValueError(f"refers to what it does not have ({e})") from e
    except (RecursionError, ArithmeticError):
        return False
