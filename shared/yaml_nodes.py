"""YAML values that know their line: typed reading where every error is one line with file, place and remedy."""

import math
import re
from collections.abc import Collection, Iterable

import yaml

from shared.domain.ensemble_rules import nearest
from shared.domain.errors import BadInputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KINDS = {yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}


class Value:
    """One value of a YAML document. Every method raises BadInputError where the value is not what it asks for."""

    def __init__(self, where: str, node: yaml.Node, path: str = "") -> None:
        self._where = where
        self._node = node
        self.path = path

    @property
    def line(self) -> int:
        """The line (from 1) where the value starts."""
        return int(self._node.start_mark.line) + 1

    def error(self, reason: str, remedy: str = "") -> BadInputError:
        """An error at this value, for the caller to raise."""
        said = f"{self.path}: {reason}" if self.path else reason
        return BadInputError(self._where, said, position=f"line {self.line}", remedy=remedy)

    @property
    def is_mapping(self) -> bool:
        """Whether the value is a mapping."""
        return isinstance(self._node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return isinstance(self._node, yaml.SequenceNode)

    def mapping(self, known: Collection[str] | None = None, required: Iterable[str] = ()) -> dict[str, "Value"]:
        """The mapping's values by key, in the file's order; refuses repeated keys, and keys that are not `known`."""
        if not isinstance(self._node, yaml.MappingNode):
            raise self._expected("a mapping")
        found: dict[str, Value] = {}
        for key_node, value_node in self._node.value:
            key = Value(self._where, key_node, self.path)
            name = key._scalar("a key")
            if name in found:
                raise key.error(f"the key '{name}' is repeated", "keep one of them")
            if known is not None and name not in known:
                raise key.error(f"unknown key '{name}'", nearest(name, known) or f"known: {', '.join(known)}")
            found[name] = Value(self._where, value_node, f"{self.path}.{name}" if self.path else name)
        for name in required:
            if name not in found:
                raise self.error(f"the key '{name}' is missing", f"add '{name}'")
        return found

    def entries(self, kind: str) -> dict[str, "Value"]:
        """A mapping of at least one `kind` whose keys are names."""
        found = self.mapping()
        if not found:
            raise self.error(f"there is no {kind}", f"name at least one {kind}")
        for name, entry in found.items():
            entry._check_name(name)
        return found

    def items(self) -> list["Value"]:
        """The values of a list."""
        if not isinstance(self._node, yaml.SequenceNode):
            raise self._expected("a list")
        return [Value(self._where, node, f"{self.path}[{i}]") for i, node in enumerate(self._node.value)]

    def text(self) -> str:
        """A word or words."""
        return self._scalar("a word")

    def name(self) -> str:
        """A name that can stand in an object's key."""
        text = self._scalar("a name")
        self._check_name(text)
        return text

    def choice(self, options: Collection[str]) -> str:
        """One of `options`."""
        text = self._scalar("a word")
        if text not in options:
            raise self.error(f"unknown value '{text}'", nearest(text, options) or f"one of {', '.join(options)}")
        return text

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        text = self._scalar("a whole number")
        try:
            number = int(text, 0)
        except ValueError:
            raise self._expected("a whole number") from None
        if not low <= number <= high:
            raise self.error(f"{number} is not from {low} to {high}", "correct the value")
        return number

    def number(self, low: float, high: float = math.inf, *, above: bool = False, below: bool = False) -> float:
        """A number from `low` to `high`; `above` and `below` leave the bound itself out."""
        text = self._scalar("a number")
        try:
            number = float(text)
        except ValueError:
            raise self._expected("a number") from None
        inside = (low < number if above else low <= number) and (number < high if below else number <= high)
        if not inside or not math.isfinite(number):
            raise self.error(f"{text} is out of range", _range(low, high, above, below))
        return number

    def boolean(self) -> bool:
        """True or false."""
        text = self._scalar("true or false").lower()
        if text not in ("true", "false"):
            raise self._expected("true or false")
        return text == "true"

    def _check_name(self, text: str) -> None:
        if not _NAME.fullmatch(text):
            raise self.error(f"'{text}' is no name", "use at most 64 letters, digits, '_', '.' and '-'")

    def _scalar(self, expected: str) -> str:
        if not isinstance(self._node, yaml.ScalarNode) or self._node.tag == "tag:yaml.org,2002:null":
            raise self._expected(expected)
        return str(self._node.value)

    def _expected(self, expected: str) -> BadInputError:
        if isinstance(self._node, yaml.ScalarNode):
            found = f"'{self._node.value}'" if self._node.value else "nothing"
        else:
            found = _KINDS[type(self._node)]
        return self.error(f"expected {expected}, found {found}", f"write {expected} here")


def read(where: str, text: str) -> Value:
    """The document of `text`. Raises BadInputError with the line where YAML itself is broken."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f"line {mark.line + 1}" if mark else ""
        reason = f"this is no YAML: {error.problem or error.context}"
        raise BadInputError(where, reason, position=position, remedy="check brackets and indentation") from None
    except yaml.YAMLError as error:
        reason = f"this is no YAML: {' '.join(str(error).split())}"
        raise BadInputError(where, reason, remedy="save it as UTF-8 text") from None
    if node is None:
        raise BadInputError(where, "the file is empty", position="line 1", remedy="see ensembles/ for examples")
    return Value(where, node)


def _range(low: float, high: float, above: bool, below: bool) -> str:
    start = f"above {low:g}" if above else f"{low:g} or more"
    return f"use {start}" if high == math.inf else f"use {start}, {'below' if below else 'at most'} {high:g}"
