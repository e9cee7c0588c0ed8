"""Parameters of a query string: read into arguments, and described for OpenAPI, from one list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from starlette.datastructures import QueryParams

from tokentrail._stats._catalog import FILTERS, REQUIRED, Parameter
from tokentrail.errors import QueryError

_SEED_NAMES: Final = {"start": "startTime", "end": "endTime"}
_TRUTHS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_LOST_PLUS: Final = re.compile(r"(\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?) (\d{2}:?\d{2})")
"""`…T00:00:00+08:00` whose plus sign arrived as a space."""
_KINDS: Final = {str: "string", int: "integer", bool: "boolean"}
_TIMES: Final = ("start", "end")
_LARGEST: Final = 2**63 - 1
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,1000}")


class Parameters:
    """What one path takes.

    Args:
        own: its own parameters.
        filtered: whether it takes the filters of every question too.
    """

    def __init__(self, own: Iterable[Parameter] = (), *, filtered: bool = False) -> None:
        known = [*own, *(FILTERS if filtered else ())]
        self.known: Final[Mapping[str, Parameter]] = {each.name: each for each in known}
        self._names = {name: name for name in self.known} | {_camel(name): name for name in self.known}

    def without(self, names: Iterable[str]) -> Parameters:
        """The same, less some."""
        return Parameters(each for name, each in self.known.items() if name not in set(names))

    def read(self, given: QueryParams, *, path: Iterable[str] = ()) -> dict[str, Any]:
        """Arguments from a query string, checked.

        Raises:
            QueryError: one is unknown or wrong; the sentence names it.
        """
        texts: dict[str, list[str]] = {}
        for written, text in given.multi_items():
            name = self._names.get(written)
            if name is None or name in path:
                raise QueryError(f"{written}: there is no such parameter here. {self._choices(path)}")
            texts.setdefault(name, []).append(text)
        return {name: _values(self.known[name], values) for name, values in texts.items()}

    def _choices(self, path: Iterable[str]) -> str:
        names = sorted(self.known.keys() - set(path))
        return f"There are: {', '.join(names)}." if names else "There are none."

    def describe(self, *, path: Iterable[str] = ()) -> list[dict[str, Any]]:
        """The same for OpenAPI."""
        within = set(path)
        return [_described(each, "path" if name in within else "query") for name, each in self.known.items()]


def _camel(name: str) -> str:
    """`session_id` → `sessionId`, as the seeds wrote."""
    first, *others = name.split("_")
    return _SEED_NAMES.get(name, first + "".join(other.title() for other in others))


# --- reading -------------------------------------------------------------------------------------


def _values(parameter: Parameter, texts: Sequence[str]) -> Any:
    if not parameter.several and len(texts) > 1:
        raise QueryError(f"{parameter.name}: it was given {len(texts)} times, and can be given once.")
    if parameter.several and parameter.choices:
        texts = [piece for text in texts for piece in text.split(",")]
    values = [_value(parameter, text) for text in texts]
    return values if len(values) > 1 else values[0]


def _value(parameter: Parameter, text: str) -> Any:
    name = parameter.name
    if not text.strip() or "\0" in text:
        raise QueryError(f"{name}: it is empty. Give a value, or leave it out.")
    if parameter.type is bool:
        if text.lower() not in _TRUTHS:
            raise QueryError(f"{name}: {text!r:.60} is not true or false.")
        return _TRUTHS[text.lower()]
    if parameter.type is int:
        return _whole(parameter, text)
    if parameter.choices and text not in parameter.choices:
        raise QueryError(f"{name}: {text!r:.60} is unknown. There are: {', '.join(parameter.choices)}.")
    return _LOST_PLUS.sub(r"\1+\2", text) if name in _TIMES else text


def _whole(parameter: Parameter, text: str) -> int:
    name, least, most = parameter.name, parameter.least, parameter.most
    if not _WHOLE.fullmatch(text):
        raise QueryError(f"{name}: {text!r:.60} is no whole number.")
    value = int(text)
    if least is not None and value < least:
        raise QueryError(f"{name}: {text:.30} is below {least}.")
    if most is None and abs(value) > _LARGEST:
        raise QueryError(f"{name}: {text:.30} is too large.")
    return value if most is None else min(value, most)


# --- describing ----------------------------------------------------------------------------------


def _described(parameter: Parameter, place: str) -> dict[str, Any]:
    schema = _schema(parameter)
    if parameter.several and place == "query":
        schema = {"type": "array", "items": schema}
    if parameter.default not in (None, REQUIRED):
        schema["default"] = parameter.default
    return {
        "name": parameter.name,
        "in": place,
        "required": place == "path" or parameter.default is REQUIRED,
        "description": parameter.help,
        "schema": schema,
    }


def _schema(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _KINDS[parameter.type]}
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    elif parameter.name in _TIMES:
        schema["anyOf"] = [{"format": "date-time"}, {"format": "date"}]
    elif parameter.type is str:
        schema["minLength"] = 1
    if parameter.least is not None:
        schema["minimum"] = parameter.least
    return schema
