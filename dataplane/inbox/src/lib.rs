//! The home of sessions: state, subscriptions, queue.
