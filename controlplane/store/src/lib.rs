//! The only SQL: Postgres through sqlx, an aggregate a file.
