//! Retained messages: one register per topic.
