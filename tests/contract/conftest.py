"""The tested project: the tests' own stack, or the project of `make contract`."""

from collections.abc import Iterator

import pytest

from docmill.embedded.auth import install_users
from docmill.embedded.stack import ALICE, BOB, DEMO_USERS
from tests.contract.target import Inside, Target, User
from tests.support.api import DEMO_PASSWORD, assert_nothing_went_wrong, start_test_api
from tests.support.database import make_database


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For another project, skip tests that look inside the stack, with a reason."""
    if Target.from_environ() is None:
        return
    for item in items:
        marker = item.get_closest_marker("embedded_only")
        if marker is not None:
            item.add_marker(pytest.mark.skip(f"embedded only: {marker.args[0]}"))


@pytest.fixture(scope="session")
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """The project."""
    foreign = Target.from_environ()
    if foreign is not None:
        yield foreign
        return
    folder = tmp_path_factory.mktemp("contract")
    with make_database(request.getfixturevalue("postgres")) as database:
        with database.connect() as admin:
            install_users(admin, DEMO_USERS)
            install_users(admin, DEMO_USERS)  # a second call changes nothing
        server = start_test_api(database, folder, max_file_bytes=2**30)
        try:
            yield Target.of(database, server, (DEMO_USERS[ALICE], DEMO_USERS[BOB]))
        finally:
            server.stop()
    assert_nothing_went_wrong(folder, DEMO_PASSWORD, DEMO_USERS[ALICE])


@pytest.fixture(scope="session")
def alice(target: Target) -> User:
    """A user."""
    return target.sign_in(0)


@pytest.fixture(scope="session")
def bob(target: Target) -> User:
    """Another user."""
    return target.sign_in(1)


@pytest.fixture(scope="session")
def inside(target: Target) -> Inside:
    """The data behind the API; for tests marked `embedded_only`."""
    assert target.inside is not None
    return target.inside
