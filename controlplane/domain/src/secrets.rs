//! Which secrets of a credential live on when it is rotated.

use tessera_tenancy::CredentialRecord;

/// The live secrets after a new one joins: the newest first, at most
/// [`CredentialRecord::SECRETS_MAX`]. The one that a device may still hold lives on, so that
/// nobody is cut off; a third would never end.
pub fn rotated<T>(new: T, live: impl IntoIterator<Item = T>) -> Vec<T> {
    std::iter::once(new)
        .chain(live)
        .take(CredentialRecord::SECRETS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_previous_secret_lives_on_and_an_older_one_ends() {
        assert_eq!(rotated("a", []), ["a"]);
        assert_eq!(rotated("b", ["a"]), ["b", "a"]);
        assert_eq!(rotated("c", ["b", "a"]), ["c", "b"]);
    }
}
