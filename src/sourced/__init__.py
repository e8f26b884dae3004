"""Event sourcing, CQRS and durable messaging: actors decide, evolve and react; one log remembers and delivers."""

from msgspec import Meta

from sourced.actions import (
    Ack,
    AfterCommit,
    Append,
    Batch,
    Failure,
    Park,
    RetryAt,
    Schedule,
    Send,
    Stop,
    Sync,
    Unschedule,
)
from sourced.actor import Actor, Aggregate, Decision
from sourced.app import Sourced
from sourced.client import AsyncClient, Client
from sourced.context import CommandContext
from sourced.envelope import Message, dispatch
from sourced.errors import (
    Conflict,
    DefinitionError,
    Diverged,
    Duplicate,
    Invalid,
    Rejection,
    RunCancelled,
    RunFailed,
    SourcedError,
    StepFailed,
)
from sourced.handlers import AsyncCommands, Commands, Events, after_commit, decide, evolve, react, sync
from sourced.handling import Handlers, History, on
from sourced.loaded import AsyncLoaded, Loaded
from sourced.messages import Command, Event, Rejected, Unknown, parse, upcast
from sourced.notifier import Note
from sourced.policy import Exponential, Linear, Retry
from sourced.projector import EventSourced, Projector
from sourced.reactor import Delivery, Reactor
from sourced.runtime.cascade import Cascade
from sourced.runtime.rebuild import Rebuilding
from sourced.subscription import AsyncSubscription, Subscription
from sourced.unit import AsyncUnit, Unit
from sourced.view import Deleted, View
from sourced.views import AsyncViews, Views
from sourced.workflow.step import step
from sourced.workflow.workflow import Workflow
from sourced.workflows import AsyncRun, Run

__all__ = [
    "Ack",
    "Actor",
    "AfterCommit",
    "Aggregate",
    "Append",
    "AsyncClient",
    "AsyncCommands",
    "AsyncLoaded",
    "AsyncRun",
    "AsyncSubscription",
    "AsyncUnit",
    "AsyncViews",
    "Batch",
    "Cascade",
    "Client",
    "Command",
    "CommandContext",
    "Commands",
    "Conflict",
    "Decision",
    "DefinitionError",
    "Deleted",
    "Delivery",
    "Diverged",
    "Duplicate",
    "Event",
    "EventSourced",
    "Events",
    "Exponential",
    "Failure",
    "Handlers",
    "History",
    "Invalid",
    "Linear",
    "Loaded",
    "Message",
    "Meta",
    "Note",
    "Park",
    "Projector",
    "Reactor",
    "Rebuilding",
    "Rejected",
    "Rejection",
    "Retry",
    "RetryAt",
    "Run",
    "RunCancelled",
    "RunFailed",
    "Schedule",
    "Send",
    "Sourced",
    "SourcedError",
    "StepFailed",
    "Stop",
    "Subscription",
    "Sync",
    "Unit",
    "Unknown",
    "Unschedule",
    "View",
    "Views",
    "Workflow",
    "after_commit",
    "decide",
    "dispatch",
    "evolve",
    "on",
    "parse",
    "react",
    "step",
    "sync",
    "upcast",
]
