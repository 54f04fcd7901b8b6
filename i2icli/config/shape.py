"""The values that a configuration may hold at each key, read from its JSON schema.

The typed models are the one source; error messages, overrides and the reference page are derived
from their schema, so that none of them can drift.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

from i2icli.config.words import one_of, toml_like

JsonSchema = Mapping[str, Any]

_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a table",
    "null": "null",
}


@dataclass(frozen=True)
class Shape:
    """One position in a configuration.

    Attributes:
        root: the schema of the whole configuration, which holds the shared definitions.
        node: the part of it that describes this position.
    """

    root: JsonSchema
    node: JsonSchema

    @classmethod
    @cache  # a JSON schema of all methods takes longer than all else a configuration needs
    def of(cls, model: type[BaseModel]) -> Shape:
        """Return the shape of a whole model."""
        schema = model.model_json_schema()
        return cls(schema, schema)

    @property
    def description(self) -> str:
        """What the value here means; empty where nobody said."""
        return str(self.node.get("description", ""))

    @property
    def tag(self) -> str | None:
        """The key whose value decides which table this is, or None."""
        found = self.node.get("discriminator", {}).get("propertyName")
        return None if found is None else str(found)

    @property
    def variants(self) -> dict[str, Shape]:
        """The tables that may stand here, by the value of `tag`."""
        mapping = self.node.get("discriminator", {}).get("mapping", {})
        return {name: self._at({"$ref": target}) for name, target in mapping.items()}

    def table(self, value: object) -> Shape | None:
        """Return the shape of the table that `value` makes this by its tag, or None."""
        if self.tag is not None:
            chosen = value.get(self.tag) if isinstance(value, Mapping) else None
            return self.variants.get(str(chosen))
        for option in self._options():
            if "properties" in option.node:
                return option
        return None

    def child(self, key: str, value: object) -> Shape | None:
        """Return the shape of the key `key` in the table that `value` makes this, or None."""
        table = self.table(value)
        properties: Mapping[str, Any] = {} if table is None else table.node["properties"]
        return self._at(properties[key]) if key in properties else None

    def at(self, path: Sequence[str], document: object) -> Shape | None:
        """Follow keys down from here; `document` is what stands here and decides variants."""
        inner: Shape | None = self
        for key in path:
            if inner is None:
                return None
            inner = inner.child(key, document)
            document = document.get(key) if isinstance(document, Mapping) else None
        return inner

    def keys(self, value: object) -> list[str]:
        """Return the keys of the table here, in the order of the model."""
        table = self.table(value)
        return [] if table is None else list(table.node["properties"])

    def refusal(self, key: str, value: object) -> str:
        """Return the reason why the table here has no key of that name; empty where it has none."""
        table = self.table(value)
        reasons: Mapping[str, str] = {} if table is None else table.node.get("refused", {})
        return reasons.get(key, "")

    def children(self, value: object) -> Iterator[tuple[str, Shape]]:
        """Yield every key of the table here with its shape."""
        for key in self.keys(value):
            child = self.child(key, value)
            assert child is not None, key
            yield key, child

    def choices(self) -> list[Any]:
        """Return the values that are allowed here where they are few and fixed, else nothing."""
        if self.tag is not None:
            return []
        found = [_choices(each.node) for each in self._options() if each.node.get("type") != "null"]
        return [choice for choices in found for choice in choices] if all(found) else []

    @property
    def is_one_of_several(self) -> bool:
        """Whether values of several kinds may stand here, none of them a table or a list."""
        kinds = {option.node.get("type") for option in self._options()}
        return len(self._options()) > 1 and not kinds & {"object", "array"}

    @property
    def takes_null(self) -> bool:
        """Whether the value may be left open."""
        return any(option.node.get("type") == "null" for option in self._options())

    @property
    def takes_text_only(self) -> bool:
        """Whether every value here is text, apart from null."""
        kinds = {option.node.get("type") for option in self._options()} - {"null"}
        return kinds == {"string"}

    def allowed(self) -> str:
        """Return the allowed values in words, for example "a number above 0"."""
        return " or ".join(dict.fromkeys(option._allowed_here() for option in self._options()))

    def _allowed_here(self) -> str:
        node = self.node
        if choices := _choices(node):
            return one_of([toml_like(choice) for choice in choices])
        if node.get("type") == "array":
            items = self._at(node.get("items", {}))
            at_least = " that is not empty" if node.get("minItems") else ""
            return f"a list{at_least}, each item {items.allowed()}"
        kind = _KINDS.get(str(node.get("type")), "a table" if "properties" in node else "a value")
        return f"{kind}{_range(node)}"

    def _options(self) -> list[Shape]:
        options = self.node.get("anyOf") or self.node.get("oneOf")
        return [self] if options is None else [self._at(option) for option in options]

    def _at(self, node: JsonSchema) -> Shape:
        # A reference to a definition is followed; what stands beside it wins.
        if (target := node.get("$ref")) is None:
            return Shape(self.root, node)
        definition = self.root["$defs"][target.removeprefix("#/$defs/")]
        own = {key: value for key, value in node.items() if key != "$ref"}
        return Shape(self.root, {**definition, **own})


def _choices(node: JsonSchema) -> list[Any]:
    return [node["const"]] if "const" in node else list(node.get("enum", []))


def _range(node: JsonSchema) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    above, below = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    limits = {"of at least": low, "above": above, "of at most": high, "below": below}
    words = " and ".join(f"{word} {limit}" for word, limit in limits.items() if limit is not None)
    return f" {words}" if words else ""
