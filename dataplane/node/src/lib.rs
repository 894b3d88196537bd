//! Wires the roles of the data plane into one process.
