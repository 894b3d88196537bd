-- How a tenant behaves, as its owner wants it. The defaults are what every tenant had before.
alter table tenants
    add column shared_subscription_strategy text not null default 'round_robin'
        check (shared_subscription_strategy in ('random', 'round_robin', 'sticky')),
    add column queue_overflow text not null default 'drop_oldest'
        check (queue_overflow in ('drop_oldest', 'drop_newest', 'refuse_publisher'));
