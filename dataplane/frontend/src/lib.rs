//! Device connections: listeners, authentication, the connection loop, local fan-out.
