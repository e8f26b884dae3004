-- The log: every message once, in order; within a shard positions become visible in order.
create sequence {positions} cache 1;

create table {messages} (
  position bigint primary key,
  shard integer not null,
  stream text collate "C" not null,
  seq integer not null,
  id text collate "C" not null,
  type text collate "C" not null,
  version integer not null,
  payload text not null,
  metadata text not null,
  causation_id text collate "C" not null,
  correlation_id text collate "C" not null,
  created_at timestamptz not null,
  settled_by text not null default ''
);
create unique index {.messages_by_stream} on {messages} (stream, seq);
create unique index {.messages_by_id} on {messages} (id);
create index {.messages_by_shard} on {messages} (shard, position);
create index {.messages_by_type} on {messages} (type, position);
create index {.messages_by_story} on {messages} (correlation_id) where correlation_id <> id;  -- who begins it is found by id
create index {.messages_first} on {messages} (stream) where seq = 1;

-- The groups that read it: one checkpoint a shard, and the streams that wait for themselves.
create table {groups} (
  name text collate "C" primary key,
  status text not null default 'active',
  start bigint not null,
  epoch integer not null default 0,
  reset_at bigint not null default 0,
  reason text not null default '',
  error text not null default '',
  stopped_by text not null default '',
  stopped_at timestamptz,
  view text collate "C" not null
);

create table {progress} (
  group_name text collate "C" not null,
  shard integer not null,
  checkpoint bigint not null,
  high bigint not null default 0,
  owner text not null default '',
  until timestamptz,
  token bigint not null default 0,
  open integer not null default 0,
  careful integer not null default 0,
  primary key (group_name, shard)
) with (fillfactor = 50);  -- updated in place, round after round

create table {stragglers} (
  group_name text collate "C" not null,
  stream text collate "C" not null,
  shard integer not null,
  from_seq integer not null,
  live_after bigint not null,
  attempts integer not null,
  retry_at timestamptz,
  parked boolean not null,
  running boolean not null,
  holder text not null,
  error text not null,
  traceback text not null,
  reason text not null,
  message_id text not null,
  since timestamptz,
  primary key (group_name, stream)
);

create index {.stragglers_by_time} on {stragglers} (group_name, shard, retry_at) where not parked;

-- Who works on them, and when they last said so.
create table {workers} (
  id text collate "C" primary key,
  host text not null,
  pid bigint not null,
  rounds integer not null,
  started_at timestamptz not null,
  beat_at timestamptz not null,
  handled bigint not null,
  busy double precision not null
);

-- Messages that are not due yet.
create table {scheduled} (
  ordinal bigint generated always as identity primary key,
  due_at timestamptz not null,
  error text not null default '',
  stream text collate "C" not null,
  id text collate "C" not null unique,
  type text collate "C" not null,
  version integer not null,
  payload text not null,
  metadata text not null,
  causation_id text collate "C" not null,
  correlation_id text collate "C" not null,
  created_at timestamptz not null,
  settled_by text not null default ''
);
create index {.scheduled_by_time} on {scheduled} (due_at, ordinal);

create table {snapshots} (
  group_name text collate "C" not null,
  stream text collate "C" not null,
  seq integer not null,
  state text not null,
  fingerprint text not null,
  primary key (group_name, stream, seq)
);

-- The rows that projectors keep here; the name a group's are kept under is in its own row.
create table {views} (
  view text collate "C" not null,
  key text collate "C" not null,
  body text not null,
  revision bigint not null,
  position bigint not null,
  updated_at timestamptz,
  primary key (view, key)
) with (fillfactor = 80);

create table {migrations} (
  number integer primary key,
  name text not null,
  shards integer not null,
  fingerprint text not null default ''
);

-- Takes the places of shards, in order, so that two who need the same ones never wait for each other.
create function {lock_shards}(shards integer[]) returns void language plpgsql as $body$
begin
  perform pg_advisory_xact_lock(hashtext('{messages}'), s.shard)
    from (select distinct u.shard from unnest(shards) as u(shard) order by u.shard) s;
end
$body$;

-- The append of several messages to one stream, if nothing speaks against it: the seq the stream was at and the
-- positions, or nothing at all, and then {append} has to say why. It does what {append} does, in far less time.
--
-- Where arrays come in, the plan is made once, not anew for their lengths, and goes by the indexes: a table that was
-- never analysed looks as if it could as well be read whole. They are unnested side by side in a select list, which
-- takes a seventh of the time that `from unnest(…, …)` takes: that one fills a store of its own for each array.
create function {append_stream}(
  e_stream text, e_shard integer, e_expected integer, r_id text[], r_type text[], r_version integer[],
  r_payload text[], r_metadata text[], r_causation text[], r_correlation text[], r_created timestamptz[],
  r_settled text[]
) returns bigint[] language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $body$
declare
  head bigint;
  places bigint[];
begin
  perform pg_advisory_xact_lock(hashtext('{messages}'), e_shard);
  select coalesce(max(m.seq), 0) into head from {messages} m where m.stream = e_stream;
  if e_expected <> head then
    return array[null];
  end if;
  with stored as (
    insert into {messages} as m (position, shard, stream, seq, id, type, version, payload, metadata, causation_id,
      correlation_id, created_at, settled_by)
    select nextval('{positions}'), e_shard, e_stream, head + r.n, r.id, r.type, r.version, r.payload, r.metadata,
      r.causation, r.correlation, r.created, r.settled
    from (
      select generate_subscripts(r_id, 1) as n, unnest(r_id) as id, unnest(r_type) as type, unnest(r_version) as version,
        unnest(r_payload) as payload, unnest(r_metadata) as metadata, unnest(r_causation) as causation,
        unnest(r_correlation) as correlation, unnest(r_created) as created, unnest(r_settled) as settled
    ) r
    returning m.position
  )
  select array_agg(s.position order by s.position) into places from stored s;
  return head || places;
exception when unique_violation then
  return array[null];
end
$body$;

-- The append, in one round trip: it takes the shards' places, checks what each entry must follow, and stores.
--
-- Entries come as e_ arrays and their records as r_ arrays; r_entry says whose a record is, r_place its place there,
-- and e_before how many records earlier entries of the same stream bring. The answer has one code an entry
-- (0 stored, 1 conflict, 2 duplicate), the seq each stream was at, and the places of what was stored, in order.
create function {append}(
  e_stream text[], e_shard integer[], e_expected integer[], e_heeds text[], e_before integer[], e_count integer[],
  r_entry integer[], r_place integer[], r_stream text[], r_shard integer[], r_id text[], r_type text[],
  r_version integer[], r_payload text[], r_metadata text[], r_causation text[], r_correlation text[],
  r_created timestamptz[], r_settled text[],
  out codes integer[], out heads integer[], out seqs integer[], out positions bigint[]
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $body$
declare
  refused boolean;
  head integer;
  lo integer := 1;
  hi integer;
  entry_seqs integer[];
  entry_positions bigint[];
begin
  -- Whoever holds a shard's lock until it commits makes its positions visible in order. Locks first, in order, and
  -- what follows in statements of their own: a statement sees what was committed before it began, not after it waited.
  perform {lock_shards}(e_shard);

  -- All at once, if nothing speaks against it.
  select array_agg(e.head order by e.n), bool_or(
      e.expected <> e.head and (e.heeds is null or e.before > 0 or e.head < e.expected or exists (
        select 1 from {messages} m where m.stream = e.stream and m.seq > e.expected
          and m.type = any (string_to_array(e.heeds, chr(31))))))
    into heads, refused
    from (
      select u.*, u.before + coalesce((select max(m.seq) from {messages} m where m.stream = u.stream), 0) as head
      from (
        select generate_subscripts(e_stream, 1) as n, unnest(e_stream) as stream, unnest(e_expected) as expected,
          unnest(e_heeds) as heeds, unnest(e_before) as before
      ) u
      offset 0  -- or the heads are looked up wherever they are mentioned
    ) e;
  if refused is not true then
    begin
      with stored as (
        insert into {messages} as m (position, shard, stream, seq, id, type, version, payload, metadata, causation_id,
          correlation_id, created_at, settled_by)
        select nextval('{positions}'), r.shard, r.stream, heads[r.entry] + r.place, r.id, r.type, r.version, r.payload,
          r.metadata, r.causation, r.correlation, r.created, r.settled
        from (
          select unnest(r_entry) as entry, unnest(r_place) as place, unnest(r_stream) as stream,
            unnest(r_shard) as shard, unnest(r_id) as id, unnest(r_type) as type, unnest(r_version) as version,
            unnest(r_payload) as payload, unnest(r_metadata) as metadata, unnest(r_causation) as causation,
            unnest(r_correlation) as correlation, unnest(r_created) as created, unnest(r_settled) as settled
        ) r
        returning m.position, m.seq
      )
      select array_agg(s.position order by s.position), array_agg(s.seq order by s.position)
        into positions, seqs from stored s;
      codes := array_fill(0, array[cardinality(e_stream)]);
      return;
    exception when unique_violation then
      null;  -- an id that is stored already: each entry for itself, then
    end;
  end if;

  codes := '{}'; heads := '{}'; seqs := '{}'; positions := '{}';
  for n in 1 .. cardinality(e_stream) loop
    hi := lo + e_count[n] - 1;
    select coalesce(max(m.seq), 0) into head from {messages} m where m.stream = e_stream[n];
    heads := heads || head;
    if exists (select 1 from {messages} m where m.id = any (r_id[lo:hi])) then
      codes := codes || 2;
    elsif e_expected[n] <> head and (e_heeds[n] is null or head < e_expected[n] or exists (
        select 1 from {messages} m where m.stream = e_stream[n] and m.seq > e_expected[n]
          and m.type = any (string_to_array(e_heeds[n], chr(31))))) then
      codes := codes || 1;
    else
      begin
        with stored as (
          insert into {messages} as m (position, shard, stream, seq, id, type, version, payload, metadata, causation_id,
            correlation_id, created_at, settled_by)
          select nextval('{positions}'), e_shard[n], e_stream[n], head + r.place, r.id, r.type, r.version, r.payload,
            r.metadata, r.causation, r.correlation, r.created, r.settled
          from (
            select unnest(r_place[lo:hi]) as place, unnest(r_id[lo:hi]) as id, unnest(r_type[lo:hi]) as type,
              unnest(r_version[lo:hi]) as version, unnest(r_payload[lo:hi]) as payload,
              unnest(r_metadata[lo:hi]) as metadata, unnest(r_causation[lo:hi]) as causation,
              unnest(r_correlation[lo:hi]) as correlation, unnest(r_created[lo:hi]) as created,
              unnest(r_settled[lo:hi]) as settled
          ) r
          returning m.position, m.seq
        )
        select array_agg(s.position order by s.position), array_agg(s.seq order by s.position)
          into entry_positions, entry_seqs from stored s;
        positions := positions || entry_positions;
        seqs := seqs || entry_seqs;
        codes := codes || 0;
      exception when unique_violation then
        codes := codes || 2;  -- by somebody else, at this very moment, in another shard
      end;
    end if;
    lo := hi + 1;
  end loop;
end
$body$;

-- The claim of a round, in one round trip: the group, the leases, and as JSON what is due of the streams that wait.
create function {claim}(
  the_group text, the_owner text, at timestamptz, till timestamptz, wanted integer, room integer,
  out status text, out start bigint, out epoch integer, out reset_at bigint, out reason text, out error text,
  out stopped_by text, out stopped_at timestamptz, out view text, out shards integer[], out tokens bigint[],
  out checkpoints bigint[], out highs bigint[], out carefuls integer[], out due text
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $body$
begin
  select g.status, g.start, g.epoch, g.reset_at, g.reason, g.error, g.stopped_by, g.stopped_at, g.view
    into status, start, epoch, reset_at, reason, error, stopped_by, stopped_at, view
    from {groups} g where g.name = the_group;
  if status is distinct from 'active' then
    return;
  end if;

  -- Whether there is anything is asked of each shard by itself: a join could read the whole log for it.
  with free as (
    select p.shard from {progress} p
    where p.group_name = the_group and (p.owner = '' or p.owner = the_owner or p.until <= at) and (
      (select max(m.position) from {messages} m where m.shard = p.shard) > p.checkpoint
      or exists (
        select 1 from {stragglers} s
        where s.group_name = the_group and s.shard = p.shard and not s.parked
          and (s.retry_at is null or s.retry_at <= at)
        offset 0))
    order by p.checkpoint, p.shard limit room for update skip locked
  ), taken as (
    update {progress} p set owner = the_owner, until = till, token = p.token + 1, careful = greatest(p.careful, p.open),
      open = greatest(1, wanted / greatest(1, (select count(*) from free)))
    where p.group_name = the_group and p.shard in (select f.shard from free f)
    returning p.shard, p.token, p.checkpoint, p.high, p.careful
  )
  select array_agg(t.shard order by t.shard), array_agg(t.token order by t.shard),
      array_agg(t.checkpoint order by t.shard), array_agg(t.high order by t.shard),
      array_agg(t.careful order by t.shard)
    into shards, tokens, checkpoints, highs, carefuls from taken t;
  if shards is null then
    return;
  end if;

  -- Each attempt is counted before it is made; what is said of `running` is how the one before ended.
  with found as (
    select s.* from {stragglers} s
    where s.group_name = the_group and s.shard = any (shards) and not s.parked
      and (s.retry_at is null or s.retry_at <= at)
    order by s.stream for update
  ), chosen as (
    select n.* from (
      select f.*, row_number() over (partition by f.shard order by f.stream) as nth from found f
    ) n where n.nth <= case when carefuls[array_position(shards, n.shard)] > 0 then 1 else wanted end
  ), counted as (
    update {stragglers} s set attempts = s.attempts + 1, running = true, holder = ''
    from chosen c where s.group_name = the_group and s.stream = c.stream
  )
  select json_agg(json_build_object(
      'group', c.group_name, 'stream', c.stream, 'from_seq', c.from_seq, 'live_after', c.live_after,
      'attempts', c.attempts + 1, 'retry_at', c.retry_at, 'parked', c.parked, 'running', c.running, 'error', c.error,
      'traceback', c.traceback, 'reason', c.reason, 'message_id', c.message_id, 'since', c.since) order by c.stream)
    into due from chosen c;
end
$body$;

-- Holds the shards' rows until the end of the transaction, or puts an end to it: a reset has raised their tokens.
create function {fence}(the_group text, the_epoch integer, shards integer[], tokens bigint[]) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $body$
declare
  lost integer;
begin
  perform 1 from {progress} p where p.group_name = the_group and p.shard = any (shards) order by p.shard for update;
  if the_epoch <> (select g.epoch from {groups} g where g.name = the_group) then
    raise exception using errcode = 'SRC01', message = 'it was reset meanwhile', detail = the_group;
  end if;
  select p.shard into lost from {progress} p
    where p.group_name = the_group and p.shard = any (shards) and p.token <> tokens[array_position(shards, p.shard)]
    order by p.shard limit 1;
  if found then
    raise exception using errcode = 'SRC01', detail = the_group,
      message = format('the lease of shard %s went to somebody else', lost);
  end if;
end
$body$;
