//! The engine as a whole: on real files, on a disk that loses what was not synced, and killed.

mod cluster;
mod conformance;
mod crash;
mod damage;
mod determinism;
mod disk;
mod ending;
mod engine;
mod faults;
mod kit;
mod late;
mod making;
mod members;
mod reading;
mod space;
mod split;
mod status;
