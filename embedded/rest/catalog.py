"""Tables and functions of the exposed schemas, read from the database's catalog.

Nothing is cached: each request looks its name up through an index, so a change of the schema counts
from the next request on. Type names are qualified, because connections have an empty search_path.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from docmill.embedded.part import Connection
from docmill.embedded.rest import errors

_TABLE: Final[LiteralString] = """
    select from pg_class as class
      join pg_namespace as namespace on namespace.oid = class.relnamespace
     where namespace.nspname = $1 and class.relname = $2 and class.relkind in ('r', 'v', 'm', 'p')
"""

_FUNCTIONS: Final[LiteralString] = """
    select proc.proretset as returns_set, proc.provolatile in ('i', 's') as changes_nothing,
           type.oid = 'void'::regtype as returns_void,
           type.typtype = 'c' or coalesce(proc.proargmodes && '{t,b,o}', false) as returns_rows,
           coalesce(class.relname, type.typname) as row_type,
           coalesce((
               select json_agg(json_build_object(
                          'name', coalesce(argument.name, ''),
                          'type', format_type(argument.type, -1),
                          'required', argument.place <= proc.pronargs - proc.pronargdefaults)
                          order by argument.place)
                 from (select name, type, row_number() over (order by place) as place
                         from unnest(proc.proargnames, proc.proargmodes,
                                     coalesce(proc.proallargtypes, proc.proargtypes::oid[]))
                                  with ordinality as all_arguments (name, mode, type, place)
                        where coalesce(mode, 'i') in ('i', 'b')) as argument),
               '[]') as parameters
      from pg_proc as proc
      join pg_namespace as namespace on namespace.oid = proc.pronamespace
      join pg_type as returned on returned.oid = proc.prorettype
      join pg_type as type on type.oid = coalesce(nullif(returned.typbasetype, 0), returned.oid)
      left join pg_class as class on class.oid = type.typrelid
     where namespace.nspname = $1 and proc.proname = $2 and proc.prokind = 'f'
       and type.oid not in ('trigger'::regtype, 'event_trigger'::regtype)
"""


@dataclass(frozen=True)
class Target:
    """The table or function that a path names."""

    schema: str
    name: str
    is_function: bool


@dataclass(frozen=True)
class Parameter:
    """An input parameter of a function."""

    name: str  #: empty if it has none
    type: str
    required: bool


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
    changes_nothing: bool  #: declared stable or immutable, so it runs read only

    @property
    def title(self) -> str:
        """The name of its result in a query, and so in errors about a column."""
        return self.row_type if self.returns_rows else self.name

    def accepts(self, arguments: frozenset[str]) -> bool:
        """Whether it can be called with exactly these arguments."""
        required = {one.name for one in self.parameters if one.required}
        return required <= arguments <= {one.name for one in self.parameters} - {""}


async def check_table(connection: Connection, target: Target) -> None:
    """Raise RestError PGRST205 if there is no such table or view."""
    cursor = await connection.execute(_TABLE, [target.schema, target.name])
    if await cursor.fetchone() is None:
        raise errors.no_table(f"{target.schema}.{target.name}")


async def find_function(
    connection: Connection, target: Target, arguments: frozenset[str]
) -> Function:
    """The one function that takes these arguments. Raises RestError PGRST202."""
    cursor = await connection.execute(_FUNCTIONS, [target.schema, target.name])
    overloads = [_function(target, row) for row in await cursor.fetchall()]
    found = [one for one in overloads if one.accepts(arguments)]
    if len(found) != 1:
        raise errors.no_function(f"{target.schema}.{target.name}", sorted(arguments))
    return found[0]


def _function(target: Target, row: Mapping[str, Any]) -> Function:
    parameters = tuple(Parameter(**parameter) for parameter in row["parameters"])
    return Function(target.schema, target.name, **{**row, "parameters": parameters})
