"""YAML files whose errors have line numbers: the configuration, the dialplan, `sipsms import`.

All mistakes are reported at once, one line each, as `file:line: key: what is expected`. The positions come from YAML's
own node tree, so that even an unknown key has its line. A secret's value must never appear in an error."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

Path_ = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


class ConfigError(Exception):
    """The errors of a file, one line each."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(self.errors))


class Model(BaseModel):
    """Base of all models of YAML files: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True)
class Document:
    """A parsed YAML file: plain data, and the line of every key and value."""

    path: Path
    data: Any
    lines: Mapping[Path_, int]

    @classmethod
    def read(cls, path: Path) -> Document:
        return cls.parse(path, read_text(path))

    @classmethod
    def parse(cls, path: Path, text: str) -> Document:
        try:
            try:
                data, lines = _load(path, _QuickLoader(text))
            except yaml.YAMLError:  # PyYAML itself says better what is wrong
                data, lines = _load(path, yaml.SafeLoader(text))
        except yaml.YAMLError as error:
            raise ConfigError([_syntax_error(path, text, error)]) from None
        except (ValueError, RecursionError):  # an invalid date; unlimited brackets
            raise ConfigError([f"{path}: not readable as YAML"]) from None
        return cls(path, {} if data is None else data, lines)

    def validate(self, model: type[M], *, secrets: bool = True) -> M:
        """Return the model of the file. `secrets`: False permits secrets by reference that cannot be read here.

        Raises ConfigError."""
        if not isinstance(self.data, dict):
            raise ConfigError([f"{self.path}:1: expected `key: value` lines"])
        try:
            return model.model_validate(self.data, context={"directory": self.path.parent, "secrets": secrets})
        except ValidationError as error:
            raise ConfigError(dict.fromkeys(self._describe(model, error))) from None

    def error(self, where: Path_, message: str) -> str:
        """Return `file:line: key: message` with the line of the nearest existing key."""
        key = _dotted(where)
        return f"{self.path}:{self.line(where)}: {key}: {message}" if key else f"{self.path}:1: {message}"

    def line(self, where: Path_) -> int:
        known = (where[:n] for n in range(len(where), 0, -1) if where[:n] in self.lines)
        return self.lines.get(next(known, ()), 1)

    def _describe(self, model: type[BaseModel], error: ValidationError) -> Iterator[str]:
        found = [(self._locate(e), e) for e in error.errors(include_url=False)]
        for where, details in sorted(found, key=lambda f: self.line(f[0])):
            yield self.error(where, _message(model, where, details, self._value(where)))

    def _locate(self, details: ErrorDetails) -> Path_:
        """Return pydantic's location without the parts that only name a member of a union."""
        where: Path_ = ()
        for part in details["loc"]:
            if (*where, part) in self.lines:
                where = (*where, part)
        absent = {"missing": details["loc"][-1:], "union_tag_invalid": ("type",), "union_tag_not_found": ("type",)}
        return where + absent.get(details["type"], ())

    def _value(self, where: Path_) -> Any:
        value = self.data
        for part in where:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value


_QuickLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads ten times as quickly


def _load(path: Path, loader: Any) -> tuple[Any, dict[Path_, int]]:
    """Return the data of a file, and the line of every key and value. Raises YAMLError and ConfigError."""
    try:
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        lines = dict(_positions(path, node))  # first, since it refuses what could not be constructed
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def read_text(path: Path) -> str:
    """Return the text of a file. Raises ConfigError."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: not UTF-8 text"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror or error}"]) from None


Position = tuple[Path_, int]


def _positions(path: Path, node: yaml.Node, where: Path_ = (), above: tuple[int, ...] = ()) -> Iterator[Position]:
    """Yield the line of every key and value. Raises ConfigError for a duplicate key, which YAML would permit."""
    if id(node) in above:
        raise ConfigError([f"{path}:{_line(node)}: {_dotted(where)}: an alias inside its own anchor"])
    if where:
        yield where, _line(node)
    above = (*above, id(node))
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield from _positions(path, item, (*where, i), above)
    elif isinstance(node, yaml.MappingNode):
        yield from _mapping(path, node, where, above)


def _mapping(path: Path, node: yaml.MappingNode, where: Path_, above: tuple[int, ...]) -> Iterator[Position]:
    seen: dict[str, int] = {}
    for key, value in node.value:
        at = f"{path}:{_line(key)}"
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.tag != "tag:yaml.org,2002:str":
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            raise ConfigError([f"{at}: {_dotted((*where, name))}: a key must be text: write it in quotes"])
        if key.value in seen:
            raise ConfigError([f"{at}: {_dotted((*where, key.value))}: stands twice, first in line {seen[key.value]}"])
        seen[key.value] = _line(key)
        yield from _positions(path, value, (*where, key.value), above)
        yield (*where, key.value), _line(key)  # the key's line counts: a block value starts below its key


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


# What PyYAML was reading when it failed, and what to say at the place where that begins.
_UNCLOSED: Final[Mapping[str, str]] = {
    "while parsing a flow sequence": "the bracket [ is not closed, or a comma is missing in it",
    "while parsing a flow mapping": "the bracket { is not closed, or a comma is missing in it",
    "while scanning a quoted scalar": "the quote is not closed",
}
_KEY: Final = re.compile(r"[\s-]*([A-Za-z0-9_.-]{1,64})\s*:(?:\s|$)")


def _syntax_error(path: Path, text: str, error: yaml.YAMLError) -> str:
    """Return `file:line: key: what is wrong`, at the beginning of what is not closed, else where PyYAML gave up."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"{path}: {' '.join(str(error).split())}"
    lines = text.splitlines()
    mark = error.problem_mark or error.context_mark
    number = mark.line if mark else 0
    said = " ".join(str(error.problem or error.context).split())
    if "\t" in _indentation(lines, number):
        said = "a tab: YAML is indented with spaces"
    elif error.context_mark is not None and (unclosed := _UNCLOSED.get(error.context or "")):
        number, said = error.context_mark.line, unclosed
    key = _KEY.match(lines[number]) if number < len(lines) else None
    return f"{path}:{number + 1}: {f'{key[1]}: ' if key else ''}{said}"


def _indentation(lines: Sequence[str], number: int) -> str:
    line = lines[number] if number < len(lines) else ""
    return line[: len(line) - len(line.lstrip())]


def _dotted(where: Path_) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")


_PLAIN_WORDS: Final[Mapping[str, str]] = {
    "missing": "is required",
    "model_type": "expected `key: value` lines",
    "dict_type": "expected `key: value` lines",
    "string_type": "expected text (a number goes in quotes)",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "union_tag_not_found": "is required",
}


def _message(model: type[BaseModel], where: Path_, details: ErrorDetails, value: Any) -> str:
    if details["type"] == "extra_forbidden":
        return _unknown_key(model, where, details)
    if details["type"] == "value_error":
        return str(details["ctx"]["error"])
    if details["type"] == "union_tag_invalid":
        return f"expected {details['ctx']['expected_tags'].replace(', ', ' or ')}, got {details['ctx']['tag']!r}"
    said = _PLAIN_WORDS.get(details["type"]) or _lower(details["msg"].replace("Input should be", "expected"))
    return f"{said}, got {value!r}" if _may_be_shown(where, value) else said


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _may_be_shown(where: Path_, value: Any) -> bool:
    """Return whether a value may be quoted: only scalars, and not where a password may stand."""
    guarded = {"auth", "headers", "secret", "store", "fields"}
    return isinstance(value, str | int | float) and len(str(value)) <= 80 and not guarded & set(where)


def _unknown_key(model: type[BaseModel], where: Path_, details: ErrorDetails) -> str:
    known = [key for key in _known_keys(model, details["loc"][:-1]) if key != where[-1]]
    near = difflib.get_close_matches(str(where[-1]), known, 1, 0.6)
    return f"unknown key; did you mean `{near[0]}`?" if near else "unknown key"


def _known_keys(model: type[BaseModel], loc: Path_) -> Sequence[str]:
    """Return the keys of the model at a location, by walking down the types along the location."""
    kinds: list[Any] = [model]
    for part in loc:
        kinds = [inner for kind in kinds for inner in _step(kind, part)]
    return [name for kind in kinds for name in _model_fields(kind)]


def _step(kind: Any, part: str | int) -> Iterator[Any]:
    for k in _models_in(kind):
        field = k.model_fields.get(part) if isinstance(part, str) else None
        yield from _models_in(field.annotation) if field is not None else [k]


def _models_in(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in getattr(kind, "__args__", ()):
        yield from _models_in(inner)


def _model_fields(kind: type[BaseModel]) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield field.alias or name
