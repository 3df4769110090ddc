"""Tables and functions of the exposed schemas, as the database's catalog has them now.

Nothing is kept: what a request names is looked up by its name, through an index, so that a
change of the schema counts from the next request on. Types are qualified, because connections
look them up with an empty search_path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, LiteralString

from docmill.embedded.rest import errors
from docmill.embedded.rest.asked import Target
from docmill.embedded.rest.database import Connection

#: How alike a name must be to be suggested: of tables and functions, and of parameters.
_LIKE_NAME: Final = 0.75
_LIKE_PARAMETERS: Final = 0.33

_TABLE: Final[LiteralString] = """
    select coalesce((select json_object_agg(attribute.attname, format_type(
                                coalesce(nullif(type.typbasetype, 0), type.oid), null))
                       from pg_attribute as attribute
                       join pg_type as type on type.oid = attribute.atttypid
                      where attribute.attrelid = class.oid
                        and attribute.attnum > 0 and not attribute.attisdropped), '{}') as columns
      from pg_class as class join pg_namespace as namespace on namespace.oid = class.relnamespace
     where namespace.nspname = $1 and class.relname = $2
       and class.relkind in ('r', 'v', 'm', 'f', 'p') and not class.relispartition
"""

_FUNCTIONS: Final[LiteralString] = """
    select proc.proname as name, proc.proretset as returns_set, proc.provolatile as volatility,
           type.oid = 'void'::regtype as returns_void,
           type.typtype = 'c' or coalesce(proc.proargmodes && '{t,b,o}', false) as returns_rows,
           coalesce(class.relname, type.typname) as row_type,
           coalesce(proc.proconfig, '{}') as settings,
           coalesce((
               select json_agg(json_build_object(
                          'name', coalesce(argument.name, ''),
                          'type', format_type(argument.type, -1),
                          'required', argument.place <= proc.pronargs - proc.pronargdefaults,
                          'variadic', coalesce(argument.mode = 'v', false))
                          order by argument.place)
                 from (select name, type, mode, row_number() over (order by place) as place
                         from unnest(proc.proargnames, proc.proargmodes,
                                     coalesce(proc.proallargtypes, proc.proargtypes::oid[]))
                                  with ordinality as all_arguments (name, mode, type, place)
                        where coalesce(mode, 'i') in ('i', 'b', 'v')) as argument),
               '[]') as parameters
      from pg_proc as proc
      join pg_namespace as namespace on namespace.oid = proc.pronamespace
      join pg_type as returned on returned.oid = proc.prorettype
      join pg_type as type on type.oid = coalesce(nullif(returned.typbasetype, 0), returned.oid)
      left join pg_class as class on class.oid = type.typrelid
     where namespace.nspname = $1 and proc.proname = $2 and proc.prokind = 'f'
       and type.oid not in ('trigger'::regtype, 'event_trigger'::regtype)
     order by proc.oid
"""

_TABLE_NAMES: Final[LiteralString] = """
    select class.relname as name
      from pg_class as class join pg_namespace as namespace on namespace.oid = class.relnamespace
     where namespace.nspname = $1
       and class.relkind in ('r', 'v', 'm', 'f', 'p') and not class.relispartition
"""

_FUNCTION_NAMES: Final[LiteralString] = """
    select distinct proc.proname as name
      from pg_proc as proc join pg_namespace as namespace on namespace.oid = proc.pronamespace
     where namespace.nspname = $1 and proc.prokind = 'f'
"""

#: Without a name, a parameter of one of these types takes the whole body.
_WHOLE_BODY: Final = ("json", "jsonb")


@dataclass(frozen=True)
class Table:
    """A table or view, with the base type of each column."""

    schema: str
    name: str
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Parameter:
    """An input parameter of a function."""

    name: str  #: empty when it has none
    type: str
    required: bool
    variadic: bool


@dataclass(frozen=True)
class Function:
    """One overload of a function."""

    schema: str
    name: str
    parameters: tuple[Parameter, ...]
    returns_set: bool
    returns_rows: bool  #: rows with named columns, not single values
    returns_void: bool
    row_type: str
    volatility: str  #: i, s or v
    settings: Sequence[str]

    @property
    def title(self) -> str:
        """What its result is called in a query, hence in errors about a column."""
        return self.row_type if self.returns_rows else self.name

    @property
    def changes_nothing(self) -> bool:
        """Whether it promises to, so that it runs read only however it is called."""
        return self.volatility in {"i", "s"}

    @property
    def takes_body(self) -> bool:
        """Whether its one parameter is the whole body."""
        return _names(self) == [""] and self.parameters[0].type in _WHOLE_BODY

    def accepts(self, arguments: frozenset[str]) -> bool:
        """Whether it can be called with exactly these arguments."""
        required = {one.name for one in self.parameters if one.required}
        return required <= arguments <= set(_names(self)) and "" not in required

    def signature(self) -> str:
        """For an error that has to tell overloads apart."""
        listed = ", ".join(f"{one.name} => {one.type}" for one in self.parameters)
        return f"{self.schema}.{self.name}({listed})"


def _names(function: Function) -> list[str]:
    return [parameter.name for parameter in function.parameters]


async def find_table(connection: Connection, target: Target) -> Table:
    """The table or view. Raises RestError PGRST205 with a suggestion."""
    cursor = await connection.execute(_TABLE, [target.schema, target.name])
    row = await cursor.fetchone()
    if row is None:
        names = await _all_names(connection, _TABLE_NAMES, target.schema)
        hint = _most_like(target.name, names, _LIKE_NAME)
        raise errors.no_table(target.schema, target.name, hint=hint)
    return Table(target.schema, target.name, row["columns"])


async def find_function(
    connection: Connection, target: Target, arguments: frozenset[str], *, posted: bool
) -> Function:
    """The function that takes these arguments, else the one that takes the whole posted body.

    Raises RestError PGRST202 when there is none, PGRST203 when there are several.
    """
    cursor = await connection.execute(_FUNCTIONS, [target.schema, target.name])
    overloads = [_function(target.schema, row) for row in await cursor.fetchall()]
    found = [one for one in overloads if one.accepts(arguments)] or [
        one for one in overloads if posted and one.takes_body
    ]
    if len(found) > 1:
        raise errors.ambiguous_function([one.signature() for one in found])
    if found:
        return found[0]
    names = await _all_names(connection, _FUNCTION_NAMES, target.schema)
    raise errors.no_function(
        f"{target.schema}.{target.name}",
        sorted(arguments),
        posted=posted,
        hint=_suggestion(target, overloads, names, arguments),
    )


def _function(schema: str, row: Mapping[str, Any]) -> Function:
    parameters = tuple(Parameter(**parameter) for parameter in row["parameters"])
    return Function(schema, **{**row, "parameters": parameters})


def _suggestion(
    target: Target, overloads: Sequence[Function], names: Sequence[str], arguments: frozenset[str]
) -> str | None:
    """A function with another name, or with other parameters."""
    if not overloads:
        name = _most_like(target.name, names, _LIKE_NAME)
        return name and f"{target.schema}.{name}"
    known = ["(" + ", ".join(sorted(_names(one))) + ")" for one in overloads]
    asked = "(" + ", ".join(sorted(arguments)) + ")"
    best = _most_like(asked, known, _LIKE_PARAMETERS)
    return best and f"{target.schema}.{target.name}{best}"


def _most_like(word: str, words: Sequence[str], at_least: float) -> str | None:
    return next(iter(get_close_matches(word, words, n=1, cutoff=at_least)), None)


async def _all_names(connection: Connection, query: LiteralString, schema: str) -> list[str]:
    cursor = await connection.execute(query, [schema])
    return [row["name"] for row in await cursor.fetchall()]
