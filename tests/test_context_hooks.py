"""Hooks of a `CommandContext`: each command passes the ones registered for it, and they see the app and each other."""

import pytest

from sourced import Command, CommandContext, DefinitionError, Invalid, Message, Sourced
from sourced.context import on
from sourced.testing.shop import AddItem, Cart, Close


class Admin(Command, namespace="admin"): ...


class Retire(Admin): ...


@pytest.fixture
def app():
    app = Sourced()
    app.register(Cart, Admin)
    return app


ADD = {"type": "shop.add_item", "stream": "c1", "payload": {"product": "tea"}}


class Traced(CommandContext):
    """Hooks that leave their names, in the order they ran."""

    @on
    def everything(self, command: Message[Command]):
        return self.trace(command, "any")

    @on
    def both(self, command: Message[AddItem | Close]):
        return self.trace(command, "both")

    @on
    def adding(self, command: Message[AddItem]):
        assert self.app.load(Cart, command.stream).seq == 0
        return self.trace(command, "adding")

    def trace(self, command, name):
        return command.with_metadata({"trace": [*command.metadata.get("trace", []), name]})


def test_hooks_run_in_order_the_ones_for_a_family_last(app):
    """K195. They are methods: the app, and whatever helpers the context has, are at `self`."""
    context = Traced(app, stream="c1")
    assert context.build(ADD).metadata["trace"] == ["both", "adding", "any"]
    assert context.build({}, Close).metadata["trace"] == ["both", "any"]
    assert context.build({}, Retire).metadata["trace"] == ["any"]


def test_hooks_are_inherited_and_never_leak_upwards(app):
    """K195."""

    class Child(Traced):
        @on
        def closing(self, command: Message[Close]):
            return self.trace(command, "closing")

        def trace(self, command, name):
            return super().trace(command, name.upper())

    assert Child(app, stream="c1").build({}, Close).metadata["trace"] == ["BOTH", "CLOSING", "ANY"]
    assert Traced(app, stream="c1").build({}, Close).metadata["trace"] == ["both", "any"]


def test_hooks_come_from_every_base_a_plain_mixin_too(app):
    class Audit:
        @on
        def audit(self, command: Message[Command]):
            return command.with_metadata({"audited": True})

    class Tenant(CommandContext):
        @on
        def tenant(self, command: Message[Command]):
            return command.to(f"tenant-{command.stream}")

    class Both(Tenant, Audit, Traced): ...

    built = Both(app, stream="c1").build({}, Close)
    assert (built.stream, built.metadata) == ("tenant-c1", {"trace": ["both", "any"], "audited": True})


def test_a_hook_may_refuse(app):
    class Guarded(CommandContext):
        @on
        def members_only(self, command: Message[Admin]):
            raise Invalid(command.type, {"user": "Not a member"})

    guarded = Guarded(app, stream="c1")
    assert guarded.build({}, Close).payload == Close()
    with pytest.raises(Invalid, match="user: Not a member"):
        guarded.build({}, Retire)


def test_a_hook_that_forgets_to_return_the_message_is_told_so(app):
    class Forgetful(CommandContext):
        @on
        def forget(self, command: Message[Command]): ...

    with pytest.raises(DefinitionError, match=r"Forgetful.forget returned None; a hook returns the message"):
        Forgetful(app).build(ADD)


def test_hooks_that_cannot_work_are_refused_when_the_class_is_made():
    with pytest.raises(DefinitionError, match=r"Payload\.hook: .* annotate it Message\[AddItem\]"):

        class Payload(CommandContext):
            @on  # type: ignore[type-var]
            def hook(self, command: AddItem): ...

    with pytest.raises(DefinitionError, match=r"Bare\.hook: annotate 'command'"):

        class Bare(CommandContext):
            @on
            def hook(self, command): ...

    with pytest.raises(DefinitionError, match=r"Later\.hook: a hook cannot be async"):

        class Later(CommandContext):
            @on  # type: ignore[type-var]
            async def hook(self, command: Message[AddItem]): ...
