//! Load scenarios and their measurements.
