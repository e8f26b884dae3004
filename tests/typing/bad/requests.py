"""What a command context refuses."""

from sourced import CommandContext, Message
from sourced.context import on
from tests.typing.good.cart import AddItem, CartState, ItemAdded, app


class Web(CommandContext):
    scope = CartState  # E: both

    @on
    def the_payload_for_its_envelope(self, message: Message[AddItem]) -> Message[AddItem]:
        return message.payload  # E: both

    @on  # E: both
    def the_bare_payload(self, payload: AddItem) -> AddItem:
        return payload

    @on  # E: both
    def nothing(self, message: Message[AddItem]) -> None: ...

    @on
    def what_is_not_there(self, message: Message[AddItem]) -> Message[AddItem]:
        return message.with_metadata({"colour": message.payload.colour})  # E: both


CommandContext()  # E: both
CommandContext(app, stream=7)  # E: both
CommandContext(app, scope=CartState)  # E: both
CommandContext(app, metadata=["user"])  # E: both
CommandContext(app).build("add_item")  # E: both
CommandContext(app).build({}, ItemAdded)  # E: both
CommandContext(app).build({}, command="add_item")  # E: both
