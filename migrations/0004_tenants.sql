create table tenants (
    tenant_id bytea primary key check (octet_length(tenant_id) = 16),
    slug text collate "C" not null constraint tenants_slug_key unique,
    status text not null default 'active' check (status in ('active', 'suspended')),
    plan text collate "C" not null references plans (slug),
    organization_id bytea references organizations (organization_id),
    labels jsonb not null default '{}',
    revision bigint not null default 1,
    quotas_revision bigint not null default 1,
    -- The pushed change that made the tenant, or its quotas, what they are.
    config_revision bigint not null default 0,
    quotas_config_revision bigint not null default 0,
    credential_count bigint not null default 0 check (credential_count >= 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create index tenants_by_organization on tenants (organization_id);

alter table tenants enable row level security;
alter table tenants force row level security;
create policy by_tenant on tenants
    using (tenant_id = (select tessera_tenant()) or (select tessera_is_platform()));

-- What devices may do. So far each tenant has one, which allows everything inside the tenant.
create table policies (
    tenant_id bytea not null references tenants (tenant_id) on delete cascade,
    slug text collate "C" not null,
    statements jsonb not null,
    revision bigint not null default 1,
    created_at timestamptz not null default now(),
    primary key (tenant_id, slug)
);

alter table policies enable row level security;
alter table policies force row level security;
create policy by_tenant on policies
    using (tenant_id = (select tessera_tenant()) or (select tessera_is_platform()));

create table quota_overrides (
    tenant_id bytea not null references tenants (tenant_id) on delete cascade,
    name text collate "C" not null,
    -- null is unlimited
    value bigint check (value >= 0),
    reason text,
    created_at timestamptz not null default now(),
    primary key (tenant_id, name)
);

alter table quota_overrides enable row level security;
alter table quota_overrides force row level security;
create policy by_tenant on quota_overrides
    using (tenant_id = (select tessera_tenant()) or (select tessera_is_platform()));

grant select, insert, update, delete on tenants, policies, quota_overrides to tessera_app;
