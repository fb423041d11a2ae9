"""What a prompt says, judged from its syntax tree alone: its sections, the fields it shows, and what must not be there.

Nothing is rendered here, so a fault is found in a branch that no row takes, too.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from jinja2 import nodes
from jinja2.visitor import NodeVisitor

from llmrec.errors import nearest

SECTIONS = {
    "instructions": ("prompt",),
    "items": ("text",),
    "p5": ("input", "target"),
    "zeroshot": ("system", "user", "answer"),
}
"""Kinds of prompts (the folders below ``prompts/``) and the blocks of each."""
ANSWERS = ("target", "answer")
"""Blocks that say what the model is to answer; the others of the same kind are what it is given."""
TABLES = {
    "user": "user",
    "item": "item",
    "interaction": "interaction",
    "history": "shown",
    "following": "shown",
    "candidates": "candidate",
}
"""Variables of the templates and the table whose columns they have."""
_MADE_OF = {"explanation": "review"}
"""Fields of an interaction that are a part of another one."""
_EMPTY: tuple[Any, ...] = (None, "", [])
_LISTS = ("history", "following", "candidates")
SCALARS = {"instructions": ("instruction", "input"), "p5": ("separator", "claimed")}
"""Variables without fields, by kind: what an instruction file has in a row; what stands between the items of a history,
and a number of stars that somebody claims was given."""
_SAME_ROWS = ("list", "reject", "rejectattr", "reverse", "select", "selectattr", "sort", "unique")
_ONE_ROW = ("first", "last")
_FOREIGN = (nodes.Macro, nodes.CallBlock, nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)


class Use(NamedTuple):
    """A place where a section reads a variable, or a field of its rows."""

    section: str
    variable: str
    field: str | None
    line: int
    chain: int | None
    """Number of the ``a or b`` in which the field stands; alternatives of one another share it."""


@dataclass(frozen=True)
class Anatomy:
    """What a template reads, in the order of the file, and what is wrong with it."""

    uses: tuple[Use, ...]
    faults: tuple[str, ...]

    def unknown_fields(self, columns: Mapping[str, Iterable[str]]) -> list[str]:
        """One line for each field that no row has.

        Args:
            columns: by table, the values of :data:`TABLES`.
        """
        wrong = [use for use in self.uses if use.field and use.field not in columns[TABLES[use.variable]]]
        return [
            f"line {use.line}: {use.variable} has no field {use.field!r}"
            + nearest(str(use.field), columns[TABLES[use.variable]])
            for use in wrong
        ]

    def never_filled(
        self, columns: Mapping[str, Collection[str | None]], filled: Mapping[str, Collection[str | None]]
    ) -> list[Use]:
        """Fields that are empty in every row; of alternatives one filled is enough.

        Args:
            columns: by table, the values of :data:`TABLES`.
            filled: those of them that some row fills.
        """
        found = {}
        for place in self.alternatives():
            known = [use for use in place if use.field in columns[TABLES[use.variable]]]
            if known and not any(use.field in filled[TABLES[use.variable]] for use in known):
                found[place[0].variable, place[0].field] = place[0]
        return list(found.values())

    def lacks(self, interaction: Mapping[str, Any]) -> bool:
        """Whether the input would show an empty field of this interaction; of alternatives one filled is enough."""
        return any(all(interaction.get(field, field) in _EMPTY for field in place) for place in self._needed)

    @cached_property
    def _needed(self) -> list[list[str]]:
        places = [place for place in self.alternatives() if place[0].variable == "interaction"]
        return [[str(use.field) for use in place] for place in places if place[0].section not in ANSWERS]

    def shows(self, variable: str, field: str | None = None) -> bool:
        """Whether any section reads the variable, or that field of its rows."""
        return (variable, field) in self._shown

    @cached_property
    def _shown(self) -> frozenset[tuple[str, str | None]]:
        return frozenset((use.variable, field) for use in self.uses for field in (None, use.field))

    def alternatives(self) -> list[tuple[Use, ...]]:
        """Fields by place; those of one ``a or b`` stand together, the preferred one first."""
        places: dict[object, list[Use]] = {}
        for number, use in enumerate(self.uses):
            if use.field:
                places.setdefault((use.chain,) if use.chain is not None else number, []).append(use)
        return [tuple(place) for place in places.values()]


def anatomy(kind: str, template: nodes.Template) -> Anatomy:
    """Walks over a template.

    Args:
        kind: one of :data:`SECTIONS`.
        template: as parsed by Jinja2.
    """
    faults = _outside(template)
    blocks = {node.name: node for node in template.body if isinstance(node, nodes.Block)}
    known = SECTIONS[kind]
    faults += [
        f"line {blocks[name].lineno}: no block {name!r}{nearest(name, known)}" for name in blocks if name not in known
    ]
    faults += [f"block {name!r} is missing (needed: {', '.join(known)})" for name in known if name not in blocks]
    walk = _Walk()
    for name in known:
        if name in blocks:
            walk.section(kind, blocks[name])
    return Anatomy(tuple(walk.uses), tuple(faults + walk.faults + _leaks(walk.uses)))


def _outside(template: nodes.Template) -> list[str]:
    """Whatever stands beside the blocks would never reach a model."""
    others = [
        part
        for node in template.body
        if not isinstance(node, nodes.Block)
        for part in (node.nodes if isinstance(node, nodes.Output) else [node])
    ]
    lines = [part.lineno + _blank_lines(part) for part in others if not _is_blank(part)]
    return [f"line {line}: text outside the blocks, which no model would see; put it into one" for line in lines]


def _is_blank(node: nodes.Node) -> bool:
    return isinstance(node, nodes.TemplateData) and not node.data.strip()


def _blank_lines(node: nodes.Node) -> int:
    """Lines of a text before its first word."""
    data = node.data if isinstance(node, nodes.TemplateData) else ""
    return data[: len(data) - len(data.lstrip())].count("\n")


def _leaks(uses: list[Use]) -> list[str]:
    """A target inside its own input: an item to be found, with what became of it, or the very field asked for.

    A row that is used as a whole counts as every field of it, and what an explanation is a part of as itself.
    """
    asked = [use for use in uses if use.section in ANSWERS]
    finds_item = any(use.variable in ("item", "following") for use in asked)

    def is_of_item(use: Use) -> bool:
        return use.variable == "following" or (finds_item and use.variable in ("item", "interaction"))

    def is_hidden(use: Use) -> bool:
        same = {each.field for each in asked if each.variable == use.variable in ("interaction", "user")}
        same |= {_MADE_OF[field] for field in same if field in _MADE_OF}
        return is_of_item(use) or (bool(same) and (None in {use.field, *same} or use.field in same))

    faults = {
        (use.line, f"{use.variable}.{use.field}" if use.field else use.variable): use
        for use in uses
        if use.section not in ANSWERS and is_hidden(use)
    }
    return [
        f"line {line}: {what} gives block {use.section!r} its own answer: "
        + (
            "the item is what is to be found"
            if is_of_item(use)
            else "that field, or a part of it, is what is asked for"
        )
        for (line, what), use in faults.items()
    ]


class _Shape(NamedTuple):
    """What an expression is made of: a row of a variable or a list of such rows."""

    variable: str
    is_list: bool


_Scope = dict[str, _Shape | None]


class _Walk(NodeVisitor):
    """Collects uses and faults; a visit returns the shape of an expression, or None for a plain value."""

    def __init__(self) -> None:
        self.uses: list[Use] = []
        self.faults: list[str] = []
        self.name = ""
        self.chain: int | None = None
        self.chains = 0

    def section(self, kind: str, block: nodes.Block) -> None:
        """Walks over one block."""
        self.name = block.name
        allowed = {"items": ("item",), "instructions": ()}.get(kind, tuple(TABLES))
        scope: _Scope = {variable: _Shape(variable, variable in _LISTS) for variable in allowed}
        scope |= dict.fromkeys(SCALARS.get(kind, ()))
        for node in block.body:
            self.visit(node, scope)

    def generic_visit(self, node: nodes.Node, scope: _Scope) -> None:
        if isinstance(node, _FOREIGN):
            what = type(node).__name__.lower()
            self.faults.append(f"line {node.lineno}: {what!r} has no place in a prompt, which is blocks of one file")
            return
        for child in node.iter_child_nodes():
            self.visit(child, scope)

    def visit_Output(self, node: nodes.Output, scope: _Scope) -> None:
        for child in node.nodes:
            if shape := self.visit(child, scope):
                what = "list of rows" if shape.is_list else "row"
                self.faults.append(f"line {child.lineno}: prints a whole {what} of {shape.variable}; name a field")

    def visit_Name(self, node: nodes.Name, scope: _Scope) -> _Shape | None:
        if node.name not in scope:
            self.faults.append(
                f"line {node.lineno}: block {self.name!r} has no variable {node.name!r}{nearest(node.name, scope)}"
            )
            return None
        shape = scope[node.name]
        if shape:
            self._use(shape, None, node)
        return shape

    def visit_Getattr(self, node: nodes.Getattr, scope: _Scope) -> None:
        self._field(self.visit(node.node, scope), node.attr, node)

    def visit_Getitem(self, node: nodes.Getitem, scope: _Scope) -> _Shape | None:
        shape: _Shape | None = self.visit(node.node, scope)
        self.visit(node.arg, scope)
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            self._field(shape, node.arg.value, node)
            return None
        if shape and shape.is_list:
            return shape if isinstance(node.arg, nodes.Slice) else _Shape(shape.variable, False)
        return None

    def visit_Call(self, node: nodes.Call, scope: _Scope) -> None:
        method = node.node if isinstance(node.node, nodes.Getattr) else None
        shape: _Shape | None = self.visit(method.node if method else node.node, scope)
        if method and shape:  # a field that it reads would be seen by nobody
            what = "list of rows" if shape.is_list else "row"
            self.faults.append(
                f"line {node.lineno}: calls {method.attr!r} of a {what} of {shape.variable}; name a field"
            )
        for child in node.iter_child_nodes(exclude=("node",)):
            self.visit(child, scope)

    def visit_Filter(self, node: nodes.Filter, scope: _Scope) -> _Shape | None:
        shape: _Shape | None = self.visit(node.node, scope) if node.node else None
        for each in (*node.args, *node.kwargs):
            self.visit(each, scope)
        for field in _fields_of_filter(node):
            self._field(shape and _Shape(shape.variable, False), field.split(".")[0], node)
        if shape and shape.is_list and node.name in (*_SAME_ROWS, *_ONE_ROW):
            return _Shape(shape.variable, node.name in _SAME_ROWS)
        return None

    def visit_For(self, node: nodes.For, scope: _Scope) -> None:
        shape = self.visit(node.iter, scope)
        inner = {**scope, "loop": None}
        _bind(node.target, shape and _Shape(shape.variable, False), inner)
        for child in (*([node.test] if node.test else []), *node.body):
            self.visit(child, inner)
        for child in node.else_:
            self.visit(child, scope)

    def visit_Assign(self, node: nodes.Assign, scope: _Scope) -> None:
        _bind(node.target, self.visit(node.node, scope), scope)

    def visit_AssignBlock(self, node: nodes.AssignBlock, scope: _Scope) -> None:
        for child in node.body:
            self.visit(child, dict(scope))
        _bind(node.target, None, scope)

    def visit_With(self, node: nodes.With, scope: _Scope) -> None:
        inner = dict(scope)
        for target, value in zip(node.targets, node.values, strict=True):
            _bind(target, self.visit(value, scope), inner)
        for child in node.body:
            self.visit(child, inner)

    def visit_Or(self, node: nodes.Or, scope: _Scope) -> None:
        outermost = self.chain is None
        if outermost:
            self.chains += 1
            self.chain = self.chains
        self.visit(node.left, scope)
        self.visit(node.right, scope)
        if outermost:
            self.chain = None

    def _field(self, shape: _Shape | None, field: str, node: nodes.Node) -> None:
        if shape and shape.is_list:
            self.faults.append(
                f"line {node.lineno}: {shape.variable} is a list of rows and has no field {field!r}; loop over it"
            )
        elif shape:
            if self.uses[-1:] and self.uses[-1].variable == shape.variable and self.uses[-1].field is None:
                self.uses.pop()  # the row was named only to reach this field
            self._use(shape, field, node)

    def _use(self, shape: _Shape, field: str | None, node: nodes.Node) -> None:
        self.uses.append(Use(self.name, shape.variable, field, node.lineno, self.chain))


def _bind(target: nodes.Node, shape: _Shape | None, scope: _Scope) -> None:
    names = [target] if isinstance(target, nodes.Name) else list(target.find_all(nodes.Name))
    for name in names:
        scope[name.name] = shape if len(names) == 1 else None


def _fields_of_filter(node: nodes.Filter) -> list[str]:
    """Names of fields that a filter takes as text: ``map(attribute="title")``, ``selectattr("title")``."""
    given = [each.value for each in node.kwargs if each.key == "attribute"]
    if node.name in ("selectattr", "rejectattr", "groupby", "attr"):
        given += node.args[:1]
    return [each.value for each in given if isinstance(each, nodes.Const) and isinstance(each.value, str)]
