"""Old data, new classes: upcasters bring what was stored yesterday up to date as it is read; no row ever changes."""

from typing import Any

import pytest

from sourced import Actor, Command, Event, Projector, Sourced, Unknown, decide, evolve, upcast
from sourced.errors import DefinitionError, Undecodable
from sourced.messages import Payload
from sourced.stores.memory import MemoryStore


def shop(*classes, after=None):
    app = Sourced(store=after or MemoryStore())
    app.register(*classes)
    return app


def yesterday(version=1):
    """A log in which an address is one line (version 1), or has a city (version 2)."""

    class V1(Event, type="address_updated"):
        street: str

    class V2(Event, type="address_updated", version=2):
        street: str
        city: str

    app = shop()
    app.append("c1", V1("1 Main St, Springfield") if version == 1 else V2("1 Main St", "Springfield"))
    return app.store


class AddressUpdated(Event, version=3):
    street: str
    city: str
    country: str


@upcast(AddressUpdated, version=1)
def with_a_city(data: dict[str, Any]) -> dict[str, Any]:
    data["street"], _, data["city"] = data["street"].partition(", ")
    return data


@upcast(AddressUpdated, version=2)
def with_a_country(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "country": "USA"}


@pytest.mark.parametrize("version", [1, 2])
def test_upcasters_are_chained_from_the_stored_version_to_the_present_one(version):
    app = shop(AddressUpdated, after=yesterday(version))
    assert [m.payload for m in app.history("c1")] == [AddressUpdated("1 Main St", "Springfield", "USA")]


def test_an_old_name_and_an_old_version_may_come_together():
    class Address(Event, version=2, aliases=("address_updated",)):
        street: str
        city: str

    upcast(Address, version=1)(with_a_city)
    app = shop(Address, after=yesterday())
    app.append("c1", Address("Strand", "London"))
    assert [m.payload for m in app.history("c1")] == [Address("1 Main St", "Springfield"), Address("Strand", "London")]


def test_the_present_version_is_never_upcast():
    app = shop(AddressUpdated)
    app.append("c1", AddressUpdated("Strand", "London", "UK"))
    assert app.history("c1")[0].payload == AddressUpdated("Strand", "London", "UK")


def test_reading_changes_nothing_that_is_stored():
    """Read twice, each upcaster starts from the stored data, though it may change what it is given."""
    log = yesterday()
    before = shop(after=log).history("c1")
    app = shop(AddressUpdated, after=log)
    assert app.history("c1") == app.history("c1")
    assert shop(after=log).history("c1") == before
    assert before[0].payload == Unknown("address_updated", {"street": "1 Main St, Springfield"})


def test_states_are_folded_from_what_is_up_to_date():
    """By an actor, by a projector in the background, and by a method that wants the envelope."""

    class Move(Command):
        city: str

    class Person(Actor[dict[str, str]]):
        def initial(self, stream: str) -> dict[str, str]:
            return {}

        @decide
        def move(self, person: dict[str, str], command: Move):
            yield AddressUpdated("?", command.city, person["country"])

        @evolve
        def moved(self, person: dict[str, str], event: AddressUpdated) -> dict[str, str]:
            return {"city": event.city, "country": event.country}

    class Countries(Projector[None]):
        @evolve
        def moved(self, state: None, event: AddressUpdated) -> None:
            countries.append(event.country)

    countries: list[str] = []
    app = shop(Person, Countries, after=yesterday())
    person = app.load(Person, "c1")
    assert person.state == {"city": "Springfield", "country": "USA"}
    person.execute(Move("Shelbyville"))
    app.drain()
    assert countries == ["USA", "USA"]


def test_a_message_that_was_brought_up_to_date_is_stored_as_what_it_is_now():
    """Copied to another log it says its present version, so nothing brings it up to date a second time."""
    copy = shop(AddressUpdated)
    copy.append("c1", shop(AddressUpdated, after=yesterday()).history("c1"))
    (read,) = copy.history("c1")
    assert (read.version, read.payload) == (3, AddressUpdated("1 Main St", "Springfield", "USA"))


# -- what cannot be read -------------------------------------------------------------------------------------------


def unreadable(app):
    """The stream cannot be read, and the error says which message, and what to mend."""
    with pytest.raises(Undecodable) as error:
        app.history("c1")
    (stored,) = shop(after=app.store).history("c1")
    assert (error.value.message_id, error.value.type, error.value.version) == (stored.id, stored.type, stored.version)
    return str(error.value)


def test_a_version_that_is_newer_than_the_class_says_so():
    new = shop(AddressUpdated)
    new.append("c1", AddressUpdated("Strand", "London", "UK"))

    class V2(Event, type="address_updated", version=2):
        street: str
        city: str

    assert "written by newer code, the class here is at version 2" in unreadable(shop(V2, after=new.store))


def test_a_version_nothing_leads_on_from_says_which_upcaster_is_missing():
    class V2(Event, type="address_updated", version=2):
        street: str

    assert "no upcaster from version 1; add one with @upcast(…, version=1)" in unreadable(shop(V2, after=yesterday()))


@pytest.mark.parametrize(
    ("upcaster", "why"),
    [
        (lambda data: {"city": data["town"]}, r"its upcaster from version 1 failed: KeyError('town')"),
        (lambda data: None, "Expected `object`, got `null`"),
        (lambda data: data, "missing required field `city`"),
        (lambda data: {"city": 7}, "Expected `str`, got `int` - at `$.city`"),
    ],
)
def test_an_upcaster_that_fails_or_answers_nonsense_is_named(upcaster, why):
    class V2(Event, type="address_updated", version=2):
        city: str

    upcast(V2, version=1)(upcaster)
    assert why in unreadable(shop(V2, after=yesterday()))


def test_a_class_that_changed_without_a_new_version_cannot_read_its_past():
    class Changed(Event, type="address_updated"):
        street: list[str]

    assert "Expected `array`, got `str` - at `$.street`; the class is " in unreadable(shop(Changed, after=yesterday()))


def test_what_cannot_be_read_is_no_obstacle_for_those_who_do_not_read_it():
    """Nothing is decoded that nobody evolves by; the state, the next decision and other streams go on."""

    class Changed(Event, type="address_updated"):
        street: int

    class Rename(Command):
        name: str

    class Renamed(Event):
        name: str

    class Person(Actor[list[str]]):
        def initial(self, stream: str) -> list[str]:
            return []

        @decide
        def rename(self, names: list[str], command: Rename):
            yield Renamed(command.name)

        @evolve
        def renamed(self, names: list[str], event: Renamed):
            names.append(event.name)

    app = shop(Changed, Person, after=yesterday())
    app.execute(Rename("Bo"), to="c1")
    app.dispatch(Rename("Jo"), to="c1")
    app.drain(raise_errors=True)
    assert app.load(Person, "c1").state == ["Bo", "Jo"]


# -- declarations --------------------------------------------------------------------------------------------------


class Versioned(Event, version=3): ...


@pytest.mark.parametrize("version", [0, 3, 4])
def test_an_upcaster_starts_from_a_version_before_the_present_one(version):
    with pytest.raises(DefinitionError, match="expected a version from 1 to 2, the class is at version 3"):
        upcast(Versioned, version=version)


def test_there_is_one_upcaster_for_each_version():
    class Twice(Event, version=2): ...

    upcast(Twice, version=1)(dict)
    with pytest.raises(DefinitionError, match="Twice already has an upcaster from version 1"):
        upcast(Twice, version=1)


def test_a_gap_in_the_chain_is_found_when_the_class_is_registered():
    """Versions before the first upcaster were never stored, so a chain may start later; it may not be broken."""

    class Gap(Event, version=4): ...

    class Late(Event, version=4): ...

    broken: dict[type[Payload], list[int]] = {Gap: [1, 3], Late: [3]}
    for cls, versions in broken.items():
        for version in versions:
            upcast(cls, version=version)(dict)
    shop(Late)
    with pytest.raises(DefinitionError, match="Gap is at version 4 and has no upcaster from version 2"):
        shop(Gap)
