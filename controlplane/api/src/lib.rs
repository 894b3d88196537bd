//! The REST API on axum; wires the control plane.
