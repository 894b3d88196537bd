-- A key without a tenant is the platform's; a tenant's transaction never sees it.
create table api_keys (
    api_key_id bytea primary key check (octet_length(api_key_id) = 16),
    tenant_id bytea references tenants (tenant_id) on delete cascade,
    name text collate "C" not null,
    role text not null,
    key_id text collate "C" not null constraint api_keys_key_id_key unique,
    digest bytea not null check (octet_length(digest) = 32),
    revision bigint not null default 1,
    created_at timestamptz not null default now(),
    check ((tenant_id is null) = (role in ('platform-admin', 'platform-viewer')))
);

create index api_keys_by_tenant on api_keys (tenant_id, api_key_id);

alter table api_keys enable row level security;
alter table api_keys force row level security;
create policy by_tenant on api_keys
    using (tenant_id = (select tessera_tenant()) or (select tessera_is_platform()));
-- Who is calling is asked before the tenant is known: one row, by the key id that came.
create policy by_key_id on api_keys for select using (key_id = (select tessera_key_id()));

-- Answers to requests with an Idempotency-Key, sealed: see the domain crate. A row without a tenant
-- is of a request outside any.
create table idempotent_answers (
    api_key_id bytea not null references api_keys (api_key_id) on delete cascade,
    lookup bytea not null check (octet_length(lookup) = 32),
    tenant_id bytea references tenants (tenant_id) on delete cascade,
    fingerprint bytea not null check (octet_length(fingerprint) = 32),
    salt bytea not null check (octet_length(salt) = 16),
    sealed bytea not null,
    created_at timestamptz not null default now(),
    primary key (api_key_id, lookup)
);

create index idempotent_answers_by_age on idempotent_answers (created_at);

alter table idempotent_answers enable row level security;
alter table idempotent_answers force row level security;
create policy by_tenant on idempotent_answers
    using (tenant_id = (select tessera_tenant()) or (select tessera_is_platform()));

grant select, insert, delete on api_keys, idempotent_answers to tessera_app;
