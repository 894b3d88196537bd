//! Random bytes from the operating system.

use tessera_tenancy::{GeneratedSecret, SecretKind};

/// The operating system gives no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("no random bytes: {0}")]
pub(crate) struct NoRandomness(getrandom::Error);

pub(crate) fn random_bytes<const LEN: usize>() -> Result<[u8; LEN], NoRandomness> {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(bytes)
}

pub(crate) fn random_secret(kind: SecretKind) -> Result<GeneratedSecret, NoRandomness> {
    Ok(GeneratedSecret::from_random(kind, random_bytes()?))
}
