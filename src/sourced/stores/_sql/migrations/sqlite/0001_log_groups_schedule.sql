-- The log: every message once, in order. `position` is the rowid; within a shard it grows with time.
create table {messages} (
  position integer primary key,
  shard integer not null,
  stream text not null,
  seq integer not null,
  id text not null,
  type text not null,
  version integer not null,
  payload text not null,
  metadata text not null,
  causation_id text not null,
  correlation_id text not null,
  created_at text not null,
  settled_by text not null default ''
);
create unique index {.messages_by_stream} on {messages} (stream, seq);
create unique index {.messages_by_id} on {messages} (id);
create index {.messages_by_shard} on {messages} (shard, position);
create index {.messages_by_type} on {messages} (type, position);
create index {.messages_by_story} on {messages} (correlation_id) where correlation_id <> id;  -- who begins it is found by id
create index {.messages_first} on {messages} (stream, seq) where seq = 1;  -- with the seq, or SQLite reads another one

-- The groups that read it: one checkpoint a shard, and the streams that wait for themselves.
create table {groups} (
  name text primary key,
  status text not null default 'active',
  start integer not null,
  epoch integer not null default 0,
  reset_at integer not null default 0,
  reason text not null default '',
  error text not null default '',
  stopped_by text not null default '',
  stopped_at text,
  view text not null
) without rowid;

create table {progress} (
  group_name text not null,
  shard integer not null,
  checkpoint integer not null,
  high integer not null default 0,
  owner text not null default '',
  until text,
  token integer not null default 0,
  open integer not null default 0,
  careful integer not null default 0,
  primary key (group_name, shard)
) without rowid;

create table {stragglers} (
  group_name text not null,
  stream text not null,
  shard integer not null,
  from_seq integer not null,
  live_after integer not null,
  attempts integer not null,
  retry_at text,
  parked boolean not null,
  running boolean not null,
  holder text not null,
  error text not null,
  traceback text not null,
  reason text not null,
  message_id text not null,
  since text,
  primary key (group_name, stream)
);

create index {.stragglers_by_time} on {stragglers} (group_name, shard, retry_at) where not parked;

-- Who works on them, and when they last said so.
create table {workers} (
  id text primary key,
  host text not null,
  pid integer not null,
  rounds integer not null,
  started_at text not null,
  beat_at text not null,
  handled integer not null,
  busy real not null
);

-- Messages that are not due yet.
create table {scheduled} (
  ordinal integer primary key,
  due_at text not null,
  error text not null default '',
  stream text not null,
  id text not null unique,
  type text not null,
  version integer not null,
  payload text not null,
  metadata text not null,
  causation_id text not null,
  correlation_id text not null,
  created_at text not null,
  settled_by text not null default ''
);
create index {.scheduled_by_time} on {scheduled} (due_at, ordinal);

create table {snapshots} (
  group_name text not null,
  stream text not null,
  seq integer not null,
  state text not null,
  fingerprint text not null,
  primary key (group_name, stream, seq)
);

-- What was published lately, for other processes to hear; the oldest are forgotten.
create table {notes} (
  id integer primary key,
  channel text not null,
  data text not null
);
-- The rows that projectors keep here; the name a group's are kept under is in its own row.
create table {views} (
  view text not null,
  key text not null,
  body text not null,
  revision integer not null,
  position integer not null,
  updated_at text,
  primary key (view, key)
) without rowid;

create table {migrations} (
  number integer primary key,
  name text not null,
  shards integer not null,
  fingerprint text not null default ''
);
