//! The shard engine: Raft groups on redb with group commit.
