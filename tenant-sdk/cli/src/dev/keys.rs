//! Keys of development mode: made once, kept with mode 0600.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tessera_tenancy::{GeneratedSecret, SecretKind, encode_hex};

use super::folder::DataFolder;
use super::private_file;

/// Bytes of a shared key (HMAC-SHA256).
const KEY_LEN: usize = 32;
/// Random bytes of the database password; it is written in hexadecimal.
const PASSWORD_LEN: usize = 24;
/// Random bytes of a generated secret.
const SECRET_LEN: usize = tessera_tenancy::secret::RANDOM_LEN;

/// Where the keys are, and those that `dev` itself uses.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Signs what the control plane pushes.
    pub(crate) push_key_file: PathBuf,
    /// Device secrets are kept under it.
    pub(crate) server_key_file: PathBuf,
    /// The first platform key.
    pub(crate) platform_key_file: PathBuf,
    pub(crate) platform_key: GeneratedSecret,
    /// Of the database role; letters and digits.
    pub(crate) postgres_password: String,
}

/// Reads the keys, and makes those that are missing.
pub(crate) fn ensure(folder: &DataFolder) -> io::Result<Keys> {
    let hex = |bytes: &[u8]| encode_hex(bytes);
    let push_key_file = folder.key("push.key");
    ensure_file::<KEY_LEN>(&push_key_file, hex)?;
    let server_key_file = folder.key("server.key");
    ensure_file::<KEY_LEN>(&server_key_file, hex)?;
    let postgres_password = ensure_file::<PASSWORD_LEN>(&folder.key("postgres.key"), hex)?;
    let platform_key_file = folder.key("platform.key");
    let text = ensure_file::<SECRET_LEN>(&platform_key_file, new_api_key)?;
    let platform_key = GeneratedSecret::parse(SecretKind::ApiKey, &text)
        .map_err(|error| io::Error::other(format!("{}: {error}", platform_key_file.display())))?;
    Ok(Keys {
        push_key_file,
        server_key_file,
        platform_key_file,
        platform_key,
        postgres_password,
    })
}

fn new_api_key(random: &[u8]) -> String {
    let mut bytes = [0; SECRET_LEN];
    bytes.copy_from_slice(random);
    GeneratedSecret::from_random(SecretKind::ApiKey, bytes)
        .expose()
        .to_owned()
}

fn ensure_file<const LEN: usize>(
    path: &Path,
    text_of: impl FnOnce(&[u8]) -> String,
) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(io::Error::new(
                error.kind(),
                format!("{}: {error}", path.display()),
            ));
        }
    }
    let mut random = [0; LEN];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let text = text_of(&random);
    private_file::replace(path, text.as_bytes())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keys_are_made_once_and_are_private() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(parent.path()).unwrap();
        let first = ensure(&folder).unwrap();
        let second = ensure(&folder).unwrap();
        assert_eq!(first.platform_key, second.platform_key);
        assert_eq!(first.postgres_password, second.postgres_password);
        assert!(
            first
                .postgres_password
                .bytes()
                .all(|b| b.is_ascii_alphanumeric())
        );
        for file in [
            &first.push_key_file,
            &first.server_key_file,
            &first.platform_key_file,
        ] {
            assert_eq!(
                fs::metadata(file).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        assert_eq!(fs::read_to_string(&first.push_key_file).unwrap().len(), 64);
        let (push, server) = (&first.push_key_file, &first.server_key_file);
        assert_ne!(fs::read(push).unwrap(), fs::read(server).unwrap());
    }

    #[test]
    fn a_damaged_platform_key_is_told() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(parent.path()).unwrap();
        fs::write(folder.key("platform.key"), "tsk_short").unwrap();
        let text = ensure(&folder).unwrap_err().to_string();
        assert!(text.contains("platform.key"), "{text}");
    }
}
