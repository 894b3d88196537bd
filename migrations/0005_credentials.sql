create table credentials (
    tenant_id bytea not null references tenants (tenant_id) on delete cascade,
    credential_id bytea not null check (octet_length(credential_id) = 16),
    username text collate "C" not null,
    policy text collate "C" not null default 'allow-all',
    revision bigint not null default 1,
    config_revision bigint not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, credential_id),
    constraint credentials_username_key unique (tenant_id, username),
    foreign key (tenant_id, policy) references policies (tenant_id, slug)
);

alter table credentials enable row level security;
alter table credentials force row level security;
create policy by_tenant on credentials
    using (tenant_id = (select tessera_tenant()) or (select tessera_is_platform()));

-- At most two live secrets each. Key ids are unique in the installation: nodes find by them.
create table credential_secrets (
    key_id text collate "C" constraint credential_secrets_key_id_key primary key,
    tenant_id bytea not null,
    credential_id bytea not null,
    digest bytea not null check (octet_length(digest) = 32),
    -- Counts the secrets of one credential: the newest has the largest.
    generation bigint not null,
    created_at timestamptz not null default now(),
    unique (tenant_id, credential_id, generation),
    foreign key (tenant_id, credential_id) references credentials on delete cascade
);

alter table credential_secrets enable row level security;
alter table credential_secrets force row level security;
create policy by_tenant on credential_secrets
    using (tenant_id = (select tessera_tenant()) or (select tessera_is_platform()));

grant select, insert, update, delete on credentials, credential_secrets to tessera_app;
