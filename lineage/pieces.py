"""A statement taken apart into the SELECTs it is made of, each with its text as it was written.

The engine runs the SQL unchanged, and so it must run the parts: sqlglot reads what they are, but
every text is cut out of the statement itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType
from sqlglot.tokens import Tokenizer

from lineage.errors import LineageError, position
from lineage.expression import is_aggregate

_DIALECT = ", normalization_strategy=case_sensitive"

_OPEN = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE})
_CLOSE = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE})

#: The words that begin the next clause of a SELECT, where they stand outside of brackets.
_CLAUSES = {
    TokenType.FROM: "from",
    TokenType.WHERE: "where",
    TokenType.GROUP_BY: "group",
    TokenType.HAVING: "having",
    TokenType.QUALIFY: "qualify",
    TokenType.ORDER_BY: "order",
    TokenType.LIMIT: "limit",
    TokenType.OFFSET: "offset",
    TokenType.WINDOW: "window",
}

#: What would make other rows than those that the clauses above choose.
_REFUSED = frozenset({"qualify", "limit", "offset", "window"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """One output column: its name, the text of its expression, and what kind of value it is."""

    name: str
    text: str
    aggregate: bool
    window: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One SELECT.

    `sources` are the tables or relations it reads, by alias. `partitions` are the texts by which
    its windows divide the rows, one tuple a window.
    """

    projections: tuple[Projection, ...]
    sources: dict[str, str]
    from_: str
    where: str | None
    grouped: bool
    partitions: tuple[tuple[str, ...], ...]
    inner: tuple[str, ...]

    @property
    def aggregates(self) -> bool:
        """Whether one of its rows is made of many."""
        return self.grouped or any(each.aggregate for each in self.projections)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A named part of a WITH, or the whole statement ('' is its name): one SELECT, or a UNION."""

    name: str
    text: str
    pieces: tuple[Piece, ...]


def relations_of(sql: str) -> tuple[Relation, ...]:
    """The parts of a statement in the order in which they can be computed; the last is the result.

    Raises:
        LineageError: it has a construct that cannot be taken apart; says which and where.
    """
    try:
        tokens = Tokenizer().tokenize(sql)
    except SqlglotError as error:
        raise LineageError(f"not valid SQL: {error}") from error
    tokens = [token for token in tokens if token.token_type is not TokenType.SEMICOLON]
    found = list[Relation]()
    if tokens and tokens[0].token_type is TokenType.WITH:
        names, tokens = _names_of_with(sql, tokens)
        found += [_relation(sql, name, body) for name, body in names]
    return (*found, _relation(sql, "", tokens))


def _names_of_with(
    sql: str, tokens: Sequence[Token]
) -> tuple[list[tuple[str, Sequence[Token]]], list[Token]]:
    found, at = list[tuple[str, Sequence[Token]]](), 1
    while True:
        name, alias = tokens[at], tokens[at + 1]
        if alias.token_type is not TokenType.ALIAS or tokens[at + 2].token_type not in _OPEN:
            raise _refuse(sql, name, "this WITH cannot be taken apart")
        end = _closing(sql, tokens, at + 2)
        found.append((name.text, tokens[at + 3 : end]))
        if end + 1 < len(tokens) and tokens[end + 1].token_type is TokenType.COMMA:
            at = end + 2
            continue
        return found, list(tokens[end + 1 :])


def _closing(sql: str, tokens: Sequence[Token], opening: int) -> int:
    depth = 0
    for at in range(opening, len(tokens)):
        depth += (tokens[at].token_type in _OPEN) - (tokens[at].token_type in _CLOSE)
        if depth == 0:
            return at
    raise _refuse(sql, tokens[opening], "a bracket is not closed")


def _relation(sql: str, name: str, tokens: Sequence[Token]) -> Relation:
    if not tokens:
        raise LineageError(f"'{name}' is empty")
    parts, rest = list[Sequence[Token]](), list[Token]()
    for token, depth in _depths(tokens):
        if depth == 0 and token.token_type in (TokenType.EXCEPT, TokenType.INTERSECT):
            raise _refuse(sql, token, f"{token.text.upper()} cannot be explained")
        if depth == 0 and token.token_type is TokenType.UNION:
            parts.append(rest)
            rest = []
        elif depth == 0 and not rest and token.token_type in (TokenType.ALL, TokenType.DISTINCT):
            continue
        else:
            rest.append(token)
    parts.append(rest)
    return Relation(
        name=name,
        text=_text(sql, tokens),
        pieces=tuple(_piece(sql, part) for part in parts),
    )


def _piece(sql: str, tokens: Sequence[Token]) -> Piece:
    if not tokens or tokens[0].token_type is not TokenType.SELECT:
        raise _refuse(sql, tokens[0], f"{tokens[0].text.upper()} cannot be explained")
    clauses = _clauses(sql, tokens)
    try:
        tree = sqlglot.parse_one(_text(sql, tokens), dialect=_DIALECT)
    except SqlglotError as error:
        raise _refuse(sql, tokens[0], "this SELECT cannot be read") from error
    if not isinstance(tree, exp.Select) or "from" not in clauses:
        raise _refuse(sql, tokens[0], "a SELECT without FROM has no rows to explain")
    texts = [_text(sql, part) for part in _split(clauses["select"])]
    projections = tuple(
        _projection(sql, tokens[0], text, node)
        for text, node in zip(texts, tree.expressions, strict=True)
    )
    where = clauses.get("where")
    return Piece(
        projections=projections,
        sources=_sources(sql, tokens[0], tree),
        from_=_text(sql, clauses["from"]),
        where=_text(sql, where) if where else None,
        grouped="group" in clauses,
        partitions=tuple(_partitions(tree)),
        inner=tuple(sorted(_inner(tree))),
    )


def _clauses(sql: str, tokens: Sequence[Token]) -> dict[str, list[Token]]:
    """The tokens of each clause, without the words that begin it."""
    found, name = dict[str, list[Token]](), "select"
    for token, depth in _depths(tokens[1:]):
        clause = _CLAUSES.get(token.token_type) if depth == 0 else None
        if clause in _REFUSED:
            raise _refuse(sql, token, f"{token.text.upper()} cannot be explained")
        if clause:
            name = clause
        elif not (name == "select" and not found and token.token_type is TokenType.DISTINCT):
            found.setdefault(name, []).append(token)
    return found


def _projection(sql: str, near: Token, text: str, node: exp.Expr) -> Projection:
    if node.is_star or not node.output_name:
        raise _refuse(sql, near, f"the column '{text}' cannot be explained")
    inner = node.unalias()
    # The alias is the last word of the text; what stands before it is the expression.
    body = text
    if isinstance(node, exp.Alias):
        last = Tokenizer().tokenize(text)
        cut = -2 if last[-2].token_type is TokenType.ALIAS else -1
        body = text[: last[cut].start].rstrip()
    windows = list(inner.find_all(exp.Window))
    in_windows = {id(each) for window in windows for each in window.find_all(exp.AggFunc)}
    plain = any(is_aggregate(each) and id(each) not in in_windows for each in _own(inner))
    return Projection(name=node.output_name, text=body, aggregate=plain, window=bool(windows))


def _own(node: exp.Expr) -> Iterator[exp.Expr]:
    """The parts of an expression, those of queries and windows inside it left out."""
    return node.walk(prune=lambda each: isinstance(each, (exp.Window, exp.Query)))


def _sources(sql: str, near: Token, tree: exp.Select) -> dict[str, str]:
    found = dict[str, str]()
    joins: Sequence[exp.Join] = tree.args.get("joins") or ()
    for each in (tree.args["from_"].this, *(join.this for join in joins)):
        if not isinstance(each, exp.Table) or not isinstance(each.this, exp.Identifier):
            raise _refuse(sql, near, f"reading from {each.key.upper()} cannot be explained")
        found[each.alias_or_name] = ".".join(part.name for part in each.parts)
    return found


def _partitions(tree: exp.Select) -> Iterator[tuple[str, ...]]:
    for projection in tree.expressions:
        for window in projection.find_all(exp.Window):
            parts: Sequence[exp.Expr] = window.args.get("partition_by") or ()
            yield tuple(part.sql(dialect=_DIALECT) for part in parts)


def _inner(tree: exp.Select) -> set[str]:
    """The tables read by queries inside of expressions and conditions."""
    own = {
        id(t) for t in (tree.args["from_"].this, *(j.this for j in tree.args.get("joins") or ()))
    }
    tables = (table for table in tree.find_all(exp.Table) if id(table) not in own)
    return {".".join(part.name for part in table.parts) for table in tables}


# ---- TOKENS ---- #


def _depths(tokens: Sequence[Token]) -> Iterator[tuple[Token, int]]:
    """Each token with the number of brackets around it; a bracket counts as inside itself."""
    depth = 0
    for token in tokens:
        depth += token.token_type in _OPEN
        yield token, depth
        depth -= token.token_type in _CLOSE


def _split(tokens: Sequence[Token]) -> list[list[Token]]:
    """The parts between commas outside of brackets."""
    parts: list[list[Token]] = [[]]
    for token, depth in _depths(tokens):
        if depth == 0 and token.token_type is TokenType.COMMA:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _text(sql: str, tokens: Sequence[Token]) -> str:
    return sql[tokens[0].start : tokens[-1].end + 1]


def _refuse(sql: str, token: Token, message: str) -> LineageError:
    line, column = position(sql, token.start)
    return LineageError(message, line=line, column=column)
