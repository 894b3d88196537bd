//! Subscriptions to receivers: routes, matching, fan-out.
