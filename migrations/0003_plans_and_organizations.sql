-- Plans are the same for everybody, so they have no row security.
create table plans (
    slug text collate "C" primary key check (slug ~ '^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$')
);

create table plan_limits (
    plan text collate "C" not null references plans (slug) on delete cascade,
    name text collate "C" not null,
    -- null is unlimited
    value bigint check (value >= 0),
    primary key (plan, name)
);

create table organizations (
    organization_id bytea primary key check (octet_length(organization_id) = 16),
    slug text collate "C" not null constraint organizations_slug_key unique,
    name text collate "C" not null,
    revision bigint not null default 1,
    created_at timestamptz not null default now()
);

alter table organizations enable row level security;
alter table organizations force row level security;
create policy platform_only on organizations using ((select tessera_is_platform()));

grant select, insert on plans, plan_limits to tessera_app;
grant select, insert on organizations to tessera_app;
