-- The role that the control plane runs as, and the two settings by which row security knows what a
-- transaction may see. Neither role nor settings bypass row security: a transaction that says nothing
-- sees nothing.
--
--   tessera.tenant    32 hexadecimal digits: this tenant's rows
--   tessera.platform  'on': every row, on the paths that serve the whole installation
--   tessera.key_id    the one API key with this key id, to find out who is calling

do $$
begin
    if not exists (select from pg_roles where rolname = 'tessera_app') then
        -- Roles belong to the whole cluster: another database of it may be migrating right now.
        begin
            create role tessera_app nologin nosuperuser nocreatedb nocreaterole noinherit nobypassrls;
        exception
            when duplicate_object or unique_violation then null;
        end;
    end if;
    -- A superuser may take any role; an ordinary owner must be a member to take this one. Where it
    -- may not make itself one, somebody has done so before.
    if not (select rolsuper from pg_roles where rolname = current_user) then
        begin
            execute format('grant tessera_app to %I', current_user);
        exception
            when insufficient_privilege then null;
        end;
    end if;
end
$$;

create function tessera_tenant() returns bytea
    language sql stable parallel safe
    return decode(nullif(current_setting('tessera.tenant', true), ''), 'hex');

create function tessera_is_platform() returns boolean
    language sql stable parallel safe
    return coalesce(current_setting('tessera.platform', true) = 'on', false);

create function tessera_key_id() returns text
    language sql stable parallel safe
    return nullif(current_setting('tessera.key_id', true), '');
