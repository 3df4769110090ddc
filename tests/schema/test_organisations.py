"""Organisations as in docs/organisations.md: users find the files of their organisations.

The expected files are counted from the memberships, without SQL.
"""

import random
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from docmill.worker.admin.verify_rls import verify_rls
from tests.schema.actors import ingest, rows, search
from tests.support.database import Database, as_client, delete_objects, put_object, watch_bucket
from tests.support.pages import ROOT, blocks

Connection = psycopg.Connection[Any]

LIST, RULE = (
    block.text for block in blocks(ROOT / "docs" / "organisations.md") if block.language == "sql"
)
#: The form of each kind of policy. The slow one takes a millisecond for each file.
POLICIES = {
    "a list of memberships": LIST,
    "a function": LIST + RULE + 'drop policy "organisation: read" on storage.objects;',
    "a slow function": LIST
    + RULE.replace("begin\n", "begin\n    perform pg_sleep(0.001);\n")
    + 'drop policy "organisation: read" on storage.objects;',
}
SEED = 7


@dataclass
class Project:
    """The users, the memberships, and the files by organisation."""

    database: Database
    users: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(5)])
    organisations: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(4)])
    members: set[tuple[UUID, UUID]] = field(default_factory=set)
    files: dict[str, UUID | None] = field(default_factory=dict)

    def expected(self, user: UUID) -> set[str]:
        """Every file of every organisation of the user."""
        return {name for name, owner in self.files.items() if (user, owner) in self.members}

    def join(self, user: UUID, organisation: UUID) -> None:
        """Add a member."""
        self.members.add((user, organisation))
        self._run("insert into public.members values (%s, %s)", user, organisation)

    def leave(self, user: UUID, organisation: UUID) -> None:
        """Remove a member."""
        self.members.remove((user, organisation))
        self._run(
            "delete from public.members where user_id = %s and organisation_id = %s",
            *(user, organisation),
        )

    def upload(self, name: str, organisation: UUID | None, uploader: UUID) -> None:
        """Upload a searchable file. Its name is its text."""
        self.files[name] = organisation
        with self.database.connect() as connection:
            object_id = put_object(connection, name, bucket="teams", owner=str(uploader))
            ingest(connection, object_id, [name, f"more of {name}"])

    def _run(self, statement: str, *values: Any) -> None:
        with self.database.connect() as connection:
            connection.execute(statement.encode(), values)


@pytest.fixture(params=POLICIES)
def project(database: Database, request: pytest.FixtureRequest) -> Project:
    """Four random organisations with up to five members and three files each."""
    with database.connect() as connection:
        connection.execute(POLICIES[request.param].encode())
    watch_bucket(database, "teams", access="inherit", owner_from="folder:1")
    made = Project(database)
    chance = random.Random(SEED)
    for organisation in made.organisations:
        for user in made.users:
            if chance.random() < 0.5:
                made.join(user, organisation)
        for name in ("a.txt", "b.txt", "deep/er/c.txt"):
            made.upload(f"{organisation}/{name}", organisation, chance.choice(made.users))
    # Files of no organisation: in no folder, in a folder that is no id, and in one that only looks
    # like an id.
    first = made.organisations[0]
    for name in ("loose.txt", "others/a.txt", f"{first}x/a.txt", f"x/{first}/a.txt"):
        made.upload(name, None, made.users[0])
    return made


def finds(project: Project, user: UUID | None) -> dict[str, set[str]]:
    """What a user sees in each way."""
    claims = {"sub": str(user)} if user else {"role": "authenticated"}
    with as_client(project.database, claims, read_only=True) as client:
        return {
            "documents": {
                row["object_name"]
                for row in rows(client, "select object_name from ingest.documents")
            },
            "chunks": {
                row["content"].removeprefix("more of ")
                for row in rows(client, "select content from ingest.chunks")
            },
            "hits": {hit["object_name"] for hit in search(client, "a", match_count=200)},
            "hits of a folder": {
                hit["object_name"]
                for organisation in (*project.organisations, "others", "x", "loose")
                for hit in search(client, "a", match_count=200, path_prefix=f"{organisation}")
            },
        }


def assert_all_find_what_is_theirs(project: Project) -> None:
    for user in project.users:
        expected = project.expected(user)
        assert finds(project, user) == dict.fromkeys(finds(project, user), expected)
    assert finds(project, uuid4()) == {way: set() for way in finds(project, None)}


def test_members_find_what_is_their_organisations_and_nobody_else_does(project: Project):
    assert {len(project.expected(user)) for user in project.users} != {0}
    assert_all_find_what_is_theirs(project)


def test_joining_and_leaving_count_from_the_next_query_on(project: Project):
    user, organisation = next(iter(sorted(project.members)))
    project.leave(user, organisation)
    assert_all_find_what_is_theirs(project)
    stranger = next(u for u in project.users if (u, organisation) not in project.members)
    project.join(stranger, organisation)
    assert_all_find_what_is_theirs(project)


def test_a_file_that_moves_to_another_organisation_is_found_there_alone(project: Project):
    old, new = project.organisations[:2]
    before, after = f"{old}/a.txt", f"{new}/moved.txt"
    with project.database.connect() as connection:
        object_id = connection.execute(
            "update storage.objects set name = %s where name = %s returning id", [after, before]
        ).fetchone()
        assert object_id is not None
        del project.files[before]
        for user in project.users:  # nobody finds its text until it is ingested
            seen = finds(project, user)
            assert seen["chunks"] == seen["hits"] == project.expected(user)
        ingest(connection, object_id[0], [after, f"more of {after}"])
    project.files[after] = new
    assert_all_find_what_is_theirs(project)


def test_a_file_that_is_deleted_is_found_by_nobody(project: Project):
    name = f"{project.organisations[0]}/b.txt"
    with project.database.connect() as connection:
        delete_objects(connection, [name], bucket="teams")
    del project.files[name]
    assert_all_find_what_is_theirs(project)


#: It asks for everything as many users, and where the policy is slow, that takes two minutes.
def test_verify_rls_finds_no_leak(project: Project):
    with project.database.connect("postgres") as connection:
        found = list(verify_rls(connection))
    assert [one for one in found if one.outcome == "leak"] == []
    # The project's own users stay unchanged.
    assert_all_find_what_is_theirs(project)
