-- The revision counter and the outbox of changes that nodes are told.

-- One row. A transaction that changes what nodes know locks it last and takes the next number, so
-- that numbers are dense and become visible in order: a sequence would commit out of order, and a
-- reader at 11 would miss 10 for ever.
create table config_head (
    only_row boolean primary key default true check (only_row),
    timeline bytea not null check (octet_length(timeline) = 16),
    revision bigint not null check (revision >= 0),
    -- Where this database lived when it was last opened; another place means that it was restored.
    lineage text
);

insert into config_head (timeline, revision) values (uuid_send(gen_random_uuid()), 0);

-- One row a revision; the body is the pushed change, whole.
create table config_changes (
    revision bigint primary key check (revision > 0),
    tenant_id bytea not null check (octet_length(tenant_id) = 16),
    body jsonb not null,
    created_at timestamptz not null default now()
);

alter table config_changes enable row level security;
alter table config_changes force row level security;
create policy by_tenant on config_changes
    using (tenant_id = (select tessera_tenant()) or (select tessera_is_platform()));

-- Says only that there is news; the truth is read by number.
create function tessera_announce_change() returns trigger
    language plpgsql as $$
begin
    perform pg_notify('tessera_config', new.revision::text);
    return null;
end
$$;

create trigger announce after insert on config_changes
    for each row execute function tessera_announce_change();

grant select, update (revision) on config_head to tessera_app;
grant select, insert, delete on config_changes to tessera_app;
