//! Several nodes in one process: devices of one tenant on different nodes, and nodes that go away.

mod failing;
mod nodes;
mod routing;
mod takeover;
