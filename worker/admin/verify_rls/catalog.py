"""The contents of docmill's schemas, read from PostgreSQL's catalog and not from a list."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString

from psycopg.rows import class_row

from docmill.worker.store.database import Connection

SCHEMAS: Final = ("ingest", "ingest_private", "ingest_search")
#: The schemas whose functions clients execute; functions of the first call those of the second.
CALLED: Final = ("ingest", "ingest_search")
#: The schemas that the Data API must not serve.
UNEXPOSED: Final = ("ingest_private", "ingest_search")
#: The roles of the Data API, Storage and Realtime.
CLIENTS: Final = ("anon", "authenticated", "service_role", "authenticator")
WORKER: Final = "docmill_worker"

# Views and partitions of docmill's tables count in any schema.
RELATIONS: Final[LiteralString] = """
    select c.oid::integer as oid, n.nspname::text as schema, c.relname::text as name,
           c.relkind::text as kind, c.relispartition as is_partition,
           c.relrowsecurity as has_rls, c.relforcerowsecurity as is_forced,
           pg_get_userbyid(c.relowner)::text as owner,
           coalesce((select option_value::boolean from pg_options_to_table(c.reloptions)
                      where option_name = 'security_invoker'), false) as is_invoker
      from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
       and (n.nspname = any(%(schemas)s)
            or c.oid in (
                select rule.ev_class from pg_depend as on_table
                       join pg_rewrite as rule on rule.oid = on_table.objid
                       join pg_class as used on used.oid = on_table.refobjid
                 where on_table.classid = 'pg_rewrite'::regclass
                   and on_table.refclassid = 'pg_class'::regclass
                   and used.relnamespace::regnamespace::text = any(%(schemas)s)))
       and n.nspname not like 'pg\\_temp%%'
     order by n.nspname, c.relname
"""

COLUMNS: Final[LiteralString] = """
    select a.attrelid::integer as relation, a.attname::text as name,
           format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null) as type,
           format_type(a.atttypid, a.atttypmod) as declared,
           a.atttypmod as modifier, a.attnotnull as is_required, a.atthasdef as has_default,
           a.attidentity <> '' or a.attgenerated <> '' as is_generated,
           (select pg_enum.enumlabel::text from pg_enum where enumtypid = t.oid
             order by enumsortorder limit 1) as label,
           exists (select from pg_index as i
                    where i.indrelid = a.attrelid and i.indisunique
                      and a.attnum = any(i.indkey)) as is_unique
      from pg_attribute as a join pg_type as t on t.oid = a.atttypid
     where a.attrelid = any(%(relations)s::oid[]) and a.attnum > 0 and not a.attisdropped
     order by a.attrelid, a.attnum
"""

# Errors name unique indexes like constraints.
CONSTRAINTS: Final[LiteralString] = """
    select c.conrelid::integer as relation, c.conname::text as name, c.contype::text as type,
           c.confrelid::integer as points_to, pg_get_constraintdef(c.oid) as definition,
           array(select a.attname::text from pg_attribute as a
                  where a.attrelid = c.conrelid and a.attnum = any(c.conkey)) as columns
      from pg_constraint as c
     where c.conrelid = any(%(relations)s::oid[]) and c.contype in ('c', 'f', 'p', 'u')
    union all
    select i.indrelid::integer, i.indexrelid::regclass::text, 'u', 0, '',
           array(select a.attname::text from pg_attribute as a
                  where a.attrelid = i.indrelid and a.attnum = any(i.indkey))
      from pg_index as i
     where i.indrelid = any(%(relations)s::oid[]) and i.indisunique
"""

FUNCTIONS: Final[LiteralString] = """
    select p.oid::integer as oid, n.nspname::text as schema, p.proname::text as name,
           p.oid::regprocedure::text as signature, p.prokind::text as kind,
           p.prosecdef as is_definer, coalesce(p.proconfig, '{}') as settings,
           p.prorettype in ('trigger'::regtype, 'event_trigger'::regtype) as is_trigger,
           p.prosrc as source, p.pronargdefaults::integer as defaults,
           array(select coalesce(a.name, '')
                   from unnest(p.proargnames, p.proargmodes) with ordinality as a(name, mode, place)
                  where coalesce(a.mode, 'i') in ('i', 'b', 'v') order by a.place) as names,
           array(select format_type(a.type, null)
                   from unnest(p.proargtypes) with ordinality as a(type, place)
                  order by a.place) as types,
           -- Within a policy it runs for whoever reads, who need not be able to name it.
           exists (select from pg_depend as d
                    where d.classid = 'pg_policy'::regclass
                      and d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid) as in_policy,
           -- A body that was parsed when it was made names what its caller cannot.
           exists (select from pg_depend as d join pg_proc as named_by on named_by.oid = d.objid
                    where d.classid = 'pg_proc'::regclass
                      and d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid
                      and named_by.pronamespace::regnamespace::text = any(%(called)s)
                      and not named_by.prosecdef) as in_body
      from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
     where n.nspname = any(%(schemas)s)
     order by n.nspname, p.proname
"""

VERSIONS: Final[LiteralString] = """
    select id, model, dimensions from ingest.index_versions
     order by state = 'active' desc, id desc
"""


@dataclass(frozen=True)
class Column:
    """The facts about a column that are needed to make a value for it."""

    relation: int
    name: str
    type: str  #: without length or dimensions; for a domain, its base type
    declared: str
    modifier: int
    is_required: bool
    has_default: bool
    is_generated: bool
    label: str | None
    is_unique: bool


@dataclass(frozen=True)
class Constraint:
    """A rule on some columns. The type is as in pg_constraint: c, f, p or u."""

    relation: int
    name: str
    type: str
    points_to: int
    definition: str
    columns: Sequence[str]


@dataclass(frozen=True)
class Relation:
    """A table, partition, view or sequence. The kind is as in pg_class."""

    oid: int
    schema: str
    name: str
    kind: str
    is_partition: bool
    has_rls: bool
    is_forced: bool
    owner: str
    is_invoker: bool
    columns: list[Column] = field(default_factory=list, compare=False)
    constraints: list[Constraint] = field(default_factory=list, compare=False)

    @property
    def title(self) -> str:
        """The name with the schema."""
        return f"{self.schema}.{self.name}"

    @property
    def is_table(self) -> bool:
        """Whether rows can be inserted: a table, partitioned or not, or a partition."""
        return self.kind in ("r", "p")

    @property
    def is_private(self) -> bool:
        """Whether only docmill itself may use it."""
        return self.schema == "ingest_private"


@dataclass(frozen=True)
class Function:
    """A function; `names` and `types` are those of its input arguments."""

    oid: int
    schema: str
    name: str
    signature: str
    kind: str
    is_definer: bool
    settings: Sequence[str]
    is_trigger: bool
    source: str
    defaults: int
    names: Sequence[str]
    types: Sequence[str]
    in_policy: bool
    in_body: bool  #: a function that clients execute calls it with its caller's rights


@dataclass(frozen=True)
class IndexVersion:
    """An index version, and the dimensions of its vectors."""

    id: int
    model: str
    dimensions: int


@dataclass(frozen=True)
class Catalog:
    """Everything that the checks try."""

    relations: Sequence[Relation]
    functions: Sequence[Function]
    versions: Sequence[IndexVersion]

    @property
    def tables(self) -> list[Relation]:
        """The tables to write rows to; partitions get theirs through their parents."""
        return [
            one
            for one in self.relations
            if one.is_table and not one.is_partition and one.schema in SCHEMAS
        ]


def read_catalog(connection: Connection) -> Catalog:
    """Read all relations and functions of the three schemas. The search_path must be empty."""
    scope: dict[str, Any] = {"schemas": list(SCHEMAS), "called": list(CALLED)}
    with connection.cursor(row_factory=class_row(Relation)) as cursor:
        relations = cursor.execute(RELATIONS, scope).fetchall()
    by_oid = {relation.oid: relation for relation in relations}
    scope["relations"] = list(by_oid)
    with connection.cursor(row_factory=class_row(Column)) as cursor:
        for column in cursor.execute(COLUMNS, scope):
            by_oid[column.relation].columns.append(column)
    with connection.cursor(row_factory=class_row(Constraint)) as cursor:
        for constraint in cursor.execute(CONSTRAINTS, scope):
            by_oid[constraint.relation].constraints.append(constraint)
    with connection.cursor(row_factory=class_row(Function)) as cursor:
        functions = cursor.execute(FUNCTIONS, scope).fetchall()
    with connection.cursor(row_factory=class_row(IndexVersion)) as cursor:
        versions = cursor.execute(VERSIONS).fetchall()
    return Catalog(relations, functions, versions)
