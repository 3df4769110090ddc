"""Throw-away tenants, their documents, and who may read which of them."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import uuid4

from docmill.worker.admin.verify_rls.catalog import Relation
from docmill.worker.admin.verify_rls.session import Actor

#: owned: only its owner reads it. shared: access `inherit`. hidden: a pending event hides it. The
#: last two kinds are withdrawn, but their chunks are still stored. Nobody may find a hidden or
#: withdrawn document.
Kind = Literal["owned", "shared", "hidden", "withdrawn", "withdrawn and shared"]
KINDS: Final[tuple[Kind, ...]] = (
    "owned",
    "shared",
    "hidden",
    "withdrawn",
    "withdrawn and shared",
)

#: An owner reads their own rows of these tables for ever, whatever Storage's policies say: work
#: done and its cost, questions and answers.
RECORDS: Final = ("ingest.jobs", "ingest.usage", "ingest.conversations", "ingest.messages")
#: Tables without data of tenants, which every user may read: the list of models.
SHARED: Final = ("ingest.index_versions",)

#: The thing that a column like `latest_job_id` names.
THINGS: Final = ("document", "object", "job", "chunk", "conversation", "message")


@dataclass
class Item:
    """One document and its contents. Every text of it contains the marker."""

    tenant: str
    owner: str | None
    kind: Kind
    marker: str = field(default_factory=lambda: f"canary{uuid4().hex[:20]}")
    ids: dict[str, str] = field(default_factory=dict)
    vectors: dict[int, str] = field(default_factory=dict)
    more: set[str] = field(default_factory=set)

    @property
    def access(self) -> str:
        """The value of `access` in its documents row."""
        return "inherit" if "shared" in self.kind else "owner"

    @property
    def is_gone(self) -> bool:
        """Whether nobody may find it any more."""
        return self.kind not in ("owned", "shared")

    @property
    def name(self) -> str:
        """The name of its object, in the folder of its owner."""
        return f"{self.owner or 'nobody'}/{self.marker}.txt"

    @property
    def title(self) -> str:
        """Its description in a report."""
        return f"a document of {self.tenant} ({self.kind})"

    @property
    def canaries(self) -> set[str]:
        """Values that nobody else may ever see: the marker, every id, hash and vector."""
        return {self.marker, *self.ids.values(), *self.more}

    def id(self, column: str, relation: str = "") -> str:
        """The uuid for a column: the same thing has the same id in all tables."""
        what = column.removesuffix("_id")
        if column == "id":
            what = relation.removesuffix("s")
        thing = next((one for one in THINGS if what.endswith(one)), what)
        return self.ids.setdefault(thing, str(uuid4()))

    def hash(self, text: str) -> str:
        """A sha256 that belongs to this item, written as bytea."""
        digest = hashlib.sha256(f"{self.marker} {text}".encode()).hexdigest()
        self.more.add(digest)
        return rf"\x{digest}"

    def vector(self, dimensions: int) -> str:
        """A vector that only this item has, as text for pgvector."""
        if dimensions not in self.vectors:
            source = random.Random(self.marker)  # noqa: S311 - no secret
            numbers = [f"{source.gauss(0, 1):.3f}" for _ in range(dimensions)]
            self.vectors[dimensions] = f"[{','.join(numbers)}]"
        return self.vectors[dimensions]


@dataclass(frozen=True)
class Cast:
    """All actors, and the items to find."""

    first: Actor
    second: Actor
    others: Sequence[Actor]
    items: Sequence[Item]

    @property
    def actors(self) -> list[Actor]:
        """All actors."""
        return [self.first, self.second, *self.others]

    def items_of(self, actor: Actor) -> list[Item]:
        """The items that belong to an actor."""
        return [item for item in self.items if actor.sub and item.owner == actor.sub]


def make_cast() -> Cast:
    """Two users with a document of each kind, documents without an owner, and other actors."""
    users = [
        Actor(name, "authenticated", {"sub": str(uuid4())}) for name in ("tenant A", "tenant B")
    ]
    items = [Item(user.name, user.sub, kind) for user in users for kind in KINDS]
    items += [Item("nobody", None, kind) for kind in ("owned", "shared")]
    others = (
        Actor("a user without a subject", "authenticated", {}),
        Actor("the service role", "service_role", {}),
        Actor("anon", "anon", {}),
    )
    return Cast(users[0], users[1], others, items)


def may_read(
    actor: Actor, item: Item, relation: Relation, readable: Mapping[str, frozenset[str]]
) -> bool:
    """Whether docmill allows this read. `readable`: the objects that Storage shows each actor."""
    if relation.is_private or actor.role == "anon":
        return False
    if actor.role == "service_role":
        return True
    is_owner = actor.sub is not None and actor.sub == item.owner
    if relation.title in RECORDS:
        return is_owner
    if item.is_gone:
        return False
    return is_owner or (
        item.kind == "shared" and item.id("object_id") in readable.get(actor.name, frozenset())
    )


def forbidden_to(
    actor: Actor,
    items: Sequence[Item],
    readable: Mapping[str, frozenset[str]],
    *,
    named_by_policies: bool = False,
) -> dict[str, Item]:
    """Every text that a function must not return to this actor, and its item.

    Documents that an owner can no longer find still belong to the owner: their ids are no secret. A
    function that only policies can call may also name documents that it hides from everybody.
    """
    theirs: dict[str, Item] = {}
    allowed: set[str] = set()
    for item in items:
        is_owner = actor.sub is not None and actor.sub == item.owner
        is_open = (
            not item.is_gone
            and item.access == "inherit"
            and (item.id("object_id") in readable.get(actor.name, frozenset()))
        )
        is_hiding = named_by_policies and item.kind in ("hidden", "withdrawn and shared")
        if is_owner or is_open or is_hiding or actor.role == "service_role":
            allowed |= {*item.canaries, item.owner or ""}
            continue
        theirs |= dict.fromkeys(item.canaries, item)
        if item.owner:
            theirs[item.owner] = item
    return {text: item for text, item in theirs.items() if text not in allowed}
