"""examples/javascript/database.types.ts matches the schema."""

from tests.support.database import Database
from tests.support.database_types import COMMAND, FILE, database_types


def test_the_types_for_supabase_js_are_those_of_the_schema(database: Database):
    with database.connect() as connection:
        assert FILE.read_text() == database_types(connection), f"run {COMMAND} URL"


def test_what_is_not_for_clients_is_not_in_them(database: Database):
    with database.connect() as connection:
        made = database_types(connection)
    for name in ("withdrawn_documents", "rank_words", "nearest_chunks", "leases"):
        assert name not in made
    for name in ("hybrid_search", "match_documents", "search_facets", "similar", "cancel_job"):
        assert f"      {name}: {{" in made
