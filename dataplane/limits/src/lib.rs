//! Tenant-wide quotas and rate limits, reloaded live.
