-- What nodes reported, so that every control plane, and the next one, knows.
create table nodes (
    -- A number of 64 bits without a sign, in decimal.
    node_id text primary key,
    incarnation bigint not null,
    timeline bytea,
    applied_revision bigint,
    last_seen_at timestamptz not null default now()
);

alter table nodes enable row level security;
alter table nodes force row level security;
create policy platform_only on nodes using ((select tessera_is_platform()));

grant select, insert, update on nodes to tessera_app;
