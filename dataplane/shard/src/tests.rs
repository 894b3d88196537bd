//! The engine as a whole: on real files, on a disk that loses what was not synced, and killed.

mod conformance;
mod crash;
mod damage;
mod disk;
mod engine;
mod faults;
mod kit;
