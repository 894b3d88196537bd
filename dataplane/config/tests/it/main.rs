//! The configuration, driven through signed lines as a control plane sends them.

mod crash;
mod listeners;
mod model;
mod poison;
mod races;
mod streams;
mod support;
